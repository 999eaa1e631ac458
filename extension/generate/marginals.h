/*
 * marginals.h
 *		The distributions that the generated pregnancies follow.
 */
#ifndef SPINE_MARGINALS_H
#define SPINE_MARGINALS_H

#include "generate/random.h"

/* One band: its weight, the values from low to high in it, a code where the value is one. */
typedef struct Band
{
	int			weight;
	int			low;
	int			high;
	const char *code;
} Band;

typedef struct Marginal
{
	const Band *bands;
	int			n;
} Marginal;

extern const Marginal age_at_booking;
extern const Marginal gestation_at_booking;
extern const Marginal gestation_at_birth;
extern const Marginal gestation_at_birth_multiple;
extern const Marginal previous_live_births;
extern const Marginal ethnic_category;
extern const Marginal folic_acid;
extern const Marginal induction_method;
extern const Marginal place_of_birth;
extern const Marginal body_mass_index;
extern const Marginal employment;
extern const Marginal language;
extern const Marginal late_booking_reason;
extern const Marginal referral_source;
extern const Marginal blood_loss;
extern const Marginal blood_loss_caesarean;
extern const Marginal apgar_good;
extern const Marginal apgar_poor;
extern const Marginal postcode_district;
extern const Marginal overseas_category;

/* chances of 10,000 */
#define CHANCE_PREVIOUS_CAESAREAN	2882	/* of women who gave birth before */
#define CHANCE_COMPLEX_SOCIAL		1331
#define CHANCE_SMOKER				1123
#define CHANCE_FIRST_FEED_MATERNAL	7314
#define CHANCE_SKIN_TO_SKIN			7418
#define CHANCE_APGAR_LOW_TERM		 110
#define CHANCE_TWINS				 150
#define CHANCE_TRIPLETS				   3
#define CHANCE_STILLBIRTH			  40
#define CHANCE_LOSS_AFTER_BOOKING	 260
#define CHANCE_TERMINATION			  40
#define CHANCE_MOVE					 600
#define CHANCE_NO_NHS_NUMBER		 150	/* of mothers */
#define CHANCE_BABY_NUMBER_LATER	 500

/* onset is a caesarean before labour */
#define CHANCE_CAESAREAN_ONSET_AFTER_CAESAREAN	6000
#define CHANCE_CAESAREAN_ONSET					1180
#define CHANCE_ELECTIVE_AFTER_CAESAREAN			8000
#define CHANCE_ELECTIVE							5600
#define CHANCE_INDUCED							3919	/* of labours */

/* of labours, head first: caesarean, instrumental, other, the rest spontaneous */
#define CHANCE_EMERGENCY_FIRST		1650
#define CHANCE_EMERGENCY_LATER		1000
#define CHANCE_INSTRUMENTAL_FIRST	2400
#define CHANCE_INSTRUMENTAL_LATER	 500
#define CHANCE_OTHER_METHOD			 180

/* A value, or a code, of the distribution. */
extern int	spine_marginal_value(Random *r, const Marginal *m);
extern const char *spine_marginal_code(Random *r, const Marginal *m);

/* Mean birth weight in grams of a singleton at this many completed weeks. */
extern int	spine_marginal_mean_weight(int weeks);

#endif							/* SPINE_MARGINALS_H */
