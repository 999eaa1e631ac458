/*
 * journey.h
 *		Everything that happens to one woman in one pregnancy.
 */
#ifndef SPINE_JOURNEY_H
#define SPINE_JOURNEY_H

#include "generate/generate.h"
#include "generate/random.h"

#define MOST_BABIES 3
#define MOST_STAYS 2

typedef struct Baby
{
	char		nhs[11];		/* "" where the baby gets none */
	char		lpid[24];
	bool		number_later;
	int			sex;			/* 1 or 2 */
	int			weight;
	int			apgar1;
	int			apgar5;
	const char *outcome;
	const char *presentation;
	const char *method;
	const char *place;
	bool		water;
	int64		born;
	bool		live;
	bool		neonatal;
	bool		critical;
	int64		admitted;
	int64		discharged;		/* 0 for a stillbirth */
	int64		died;			/* 0 or when */
	const char *feed;
	int64		fed;
	bool		skin;
	char		professional[16];	/* who delivers */
} Baby;

/* The part of a pregnancy that one organisation cares for. */
typedef struct Stay
{
	int			organisation;
	int64		booked;
	int64		until;			/* contacts before this are this organisation's */
	int			edd;
	bool		transferred_in;
	bool		transferred_out;
	char		lpid[24];
	char		pregnancy[24];
	int			contacts;
	int			activities;
	int			spells;
	int			others;
} Stay;

typedef struct Journey
{
	int			number;
	char		nhs[11];
	int			born;			/* of the mother, day */
	const char *ethnic;
	char		postcode[12];
	const char *commissioner;
	char		practice[8];
	int			registered;		/* with the practice, day */
	const char *overseas;
	int			lmp;			/* day 0 of the true gestation */
	int			lmp_told;
	int			booked;			/* day */
	const char *late_reason;
	int			first_contact;
	const char *source;
	const char *language;
	const char *employment;
	const char *employment_partner;
	const char *folic;
	const char *edd_method;
	bool		disability;
	bool		mental_health;
	bool		social;
	bool		support;
	bool		smoker;
	bool		ex_smoker;
	int			cigarettes;
	int			height;			/* cm */
	int			weight;			/* hectograms */
	int			bmi;			/* tenths */
	int			live_births;
	int			caesareans;
	int			stillbirths;
	int			losses;
	int			fetuses;
	bool		diabetes;
	bool		hypertension;
	bool		anaemia;
	const char *lost;			/* ICD-10 code of a loss before 24 weeks, or NULL */
	int64		end;			/* birth of the first baby, or the loss */
	const char *onset;			/* code */
	bool		at_home;
	int64		labour;			/* onset, 0 where there was none */
	int64		caesarean;		/* 0 where there was none */
	int64		decision;		/* 0 where there was none */
	int64		admitted;		/* 0 at home */
	int64		discharged;
	int64		care_ends;
	int			loss_ml;
	const char *tear;			/* SNOMED, or NULL */
	bool		episiotomy;
	bool		epidural;
	int			gestation;		/* at birth, days */
	int			nbabies;
	Baby		babies[MOST_BABIES];
	int			nstays;
	Stay		stays[MOST_STAYS];
} Journey;

/* Draws the pregnancy of this number: the same for the same stream, seed and organisations. */
extern void spine_journey_draw(Journey *j, Random *r, const GeneratePlan *plan, int pregnancy);

/* The day, or the Monday after a weekend. Days since 2000-01-01. */
extern int	spine_journey_weekday(int day);

#endif							/* SPINE_JOURNEY_H */
