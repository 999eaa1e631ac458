/*
 * journey.c
 *		Draws everything that happens to one woman in one pregnancy, in one fixed
 *		order and from a stream of random numbers of the pregnancy's own.
 */
#include "postgres.h"

#include "generate/journey.h"
#include "generate/marginals.h"
#include "generate/record.h"
#include "types/nhs_number_core.h"

/*
 * The number of a slot, 0 .. 899,999: of the form 999 ddddd d d, which no person
 * has. For five digits after 999, nine or ten of the sixth have a check digit; a
 * slot is one of the first nine.
 */
static void
nhs_number(int slot, char out[11])
{
	int			wanted = slot % 9;
	int64		first_nine = (INT64CONST(99900000) + slot / 9) * 10;

	for (;; first_nine++)
	{
		int			digit = spine_nhs_number_check_digit(first_nine);

		if (digit >= 0 && wanted-- == 0)
		{
			snprintf(out, 11, INT64_FORMAT "%d", first_nine, digit);
			return;
		}
	}
}

/* Which 4 of the 900,000 slots are this pregnancy's: a permutation chosen by the seed. */
static int
first_slot(uint64 seed, int pregnancy)
{
	uint64		state = seed;
	uint64		offset = random_mix(&state) % GENERATE_MOST_PREGNANCIES;

	/* 104,729 is prime and no divisor of 225,000 */
	return (int) ((((uint64) pregnancy * 104729 + offset) % GENERATE_MOST_PREGNANCIES) * 4);
}

/* A system's own number of a pregnancy, different in each organisation. */
static int
local_number(int organisation, int pregnancy)
{
	return (int) (((uint64) pregnancy * 7368787 + (uint64) organisation * 3571429) % 9999991);
}

int
spine_journey_weekday(int day)
{
	/* 2000-01-01 was a Saturday */
	switch (((day % 7) + 7) % 7)
	{
		case 0:
			return day + 2;
		case 1:
			return day + 1;
		default:
			return day;
	}
}

static void
draw_mother(Journey *j, Random *r, const GeneratePlan *plan)
{
	static const char *const commissioners[] = {"W2U3Z", "W2U3Z", "W2U3Z", "W2U3Z", "93C", "36L", "92A"};
	static const char letters[] = "ABDEFGHJLNPQRSTUWXYZ";
	int			age = spine_marginal_value(r, &age_at_booking);
	const char *district;
	int			inward;

	nhs_number(first_slot(plan->seed, j->number), j->nhs);
	if (random_chance(r, CHANCE_NO_NHS_NUMBER))
		j->nhs[0] = '\0';
	j->ethnic = spine_marginal_code(r, &ethnic_category);
	district = spine_marginal_code(r, &postcode_district);
	inward = random_below(r, 10 * 20 * 20);
	snprintf(j->postcode, sizeof(j->postcode), "%s %d%c%c", district,
			 inward / 400, letters[inward / 20 % 20], letters[inward % 20]);
	if (random_chance(r, 20))
		strlcpy(j->postcode, "ZZ99 3VZ", sizeof(j->postcode));
	j->commissioner = commissioners[random_below(r, lengthof(commissioners))];
	snprintf(j->practice, sizeof(j->practice), "E8%04d", random_between(r, 4000, 7899));
	if (random_chance(r, 120))
		strlcpy(j->practice, random_chance(r, 5000) ? "V81997" : "V81999", sizeof(j->practice));
	j->overseas = spine_marginal_code(r, &overseas_category);
	if (j->nhs[0] == '\0')
		j->overseas = "P";

	j->booked = spine_journey_weekday(plan->start + random_below(r, 365));
	j->born = j->booked - age * 1461 / 4 - random_between(r, 1, 364);
	j->registered = j->booked - random_between(r, 90, 4000);

	j->live_births = spine_marginal_value(r, &previous_live_births);
	j->caesareans = 0;
	if (j->live_births > 0 && random_chance(r, CHANCE_PREVIOUS_CAESAREAN))
		j->caesareans = random_between(r, 1, smaller(j->live_births, 2));
	j->stillbirths = random_chance(r, 60) ? 1 : 0;
	j->losses = random_chance(r, 2200) ? random_between(r, 1, 3) : 0;

	j->source = spine_marginal_code(r, &referral_source);
	j->language = spine_marginal_code(r, &language);
	j->employment = spine_marginal_code(r, &employment);
	j->employment_partner = spine_marginal_code(r, &employment);
	j->folic = spine_marginal_code(r, &folic_acid);
	j->edd_method = random_chance(r, 8800) ? "03" : random_chance(r, 7500) ? "02" : "01";
	j->disability = random_chance(r, 420);
	j->mental_health = random_chance(r, 1500);
	j->social = random_chance(r, CHANCE_COMPLEX_SOCIAL);
	j->support = random_chance(r, 9300);
	j->smoker = random_chance(r, CHANCE_SMOKER);
	j->ex_smoker = !j->smoker && random_chance(r, 2200);
	j->cigarettes = j->smoker ? random_between(r, 1, 20) : 0;
	j->height = 164 + random_normal(r) * 65 / 10000;
	j->bmi = spine_marginal_value(r, &body_mass_index) * 10 + random_below(r, 10);
	j->weight = (int) ((int64) j->bmi * j->height * j->height / 10000);
	j->diabetes = random_chance(r, j->bmi >= 300 ? 1400 : 450);
	j->hypertension = random_chance(r, j->live_births == 0 ? 700 : 350);
	j->anaemia = random_chance(r, 1100);

	j->fetuses = 1;
	if (random_chance(r, CHANCE_TRIPLETS))
		j->fetuses = 3;
	else if (random_chance(r, CHANCE_TWINS))
		j->fetuses = 2;
}

static const char *
draw_method(Journey *j, Random *r, const char *presentation, bool first)
{
	bool		nullipara = j->live_births == 0;
	int			at;

	if (j->onset[0] == '2')
		return random_chance(r, j->caesareans > 0 ? CHANCE_ELECTIVE_AFTER_CAESAREAN : CHANCE_ELECTIVE) ? "7" : "8";
	if (strcmp(presentation, "02") == 0)
		return random_chance(r, 3000) ? "5" : "8";
	if (strcmp(presentation, "03") == 0)
		return "8";
	at = random_below(r, 10000);
	at -= nullipara ? CHANCE_EMERGENCY_FIRST : CHANCE_EMERGENCY_LATER;
	if (at < 0)
		return "8";
	at -= nullipara ? CHANCE_INSTRUMENTAL_FIRST : CHANCE_INSTRUMENTAL_LATER;
	if (at < 0)
		return random_chance(r, 5600) ? "4" : random_chance(r, 5000) ? "3" : "2";
	at -= CHANCE_OTHER_METHOD;
	if (at < 0)
		return "9";
	return random_chance(r, 9700) ? "0" : "1";
}

static bool
caesarean_method(const char *method)
{
	return method[0] == '7' || method[0] == '8';
}

static void
draw_baby(Journey *j, Random *r, const GeneratePlan *plan, int order, int gestation, bool stillborn)
{
	Baby	   *baby = &j->babies[order];
	int			weeks = gestation / 7;
	int			mean = spine_marginal_mean_weight(weeks);
	bool		term = gestation >= 259;
	bool		sick;

	memset(baby, 0, sizeof(*baby));
	nhs_number(first_slot(plan->seed, j->number) + 1 + order, baby->nhs);
	baby->live = !stillborn;
	baby->outcome = !stillborn ? "01" : random_chance(r, 8800) ? "02" : random_chance(r, 8000) ? "03" : "04";
	baby->sex = random_chance(r, 5120) ? 1 : 2;
	baby->number_later = random_chance(r, CHANCE_BABY_NUMBER_LATER);
	if (stillborn)
		baby->nhs[0] = '\0';

	/* girls are lighter, and so are twins and the babies of smokers */
	mean += baby->sex == 1 ? mean * 17 / 1000 : -mean * 17 / 1000;
	if (j->fetuses > 1)
		mean -= mean * (weeks >= 32 ? 130 : 50) / 1000;
	if (j->smoker)
		mean -= mean * 45 / 1000;
	baby->weight = mean + (int) ((int64) mean * 125 * random_normal(r) / 1000000);
	baby->weight = larger(baby->weight, 300);

	if (order > 0)
		baby->presentation = random_chance(r, 7000) ? "01" : random_chance(r, 8000) ? "02" : "03";
	else if (random_chance(r, term ? 9560 : 8700))
		baby->presentation = "01";
	else
		baby->presentation = random_chance(r, 7800) ? "02" : random_chance(r, 6000) ? "03" : "XX";

	sick = random_chance(r, term ? CHANCE_APGAR_LOW_TERM : weeks >= 32 ? 450 : 2500);
	baby->apgar5 = sick ? spine_marginal_value(r, &apgar_poor) : spine_marginal_value(r, &apgar_good);
	baby->apgar1 = larger(0, baby->apgar5 - (sick ? random_between(r, 1, 3) : random_between(r, 0, 1)));
	if (stillborn)
		baby->apgar1 = baby->apgar5 = 0;

	baby->neonatal = baby->live && random_chance(r, sick ? 9000 : weeks < 32 ? 10000 : weeks < 34 ? 9500 :
												 weeks < 37 ? 4200 : 560);
	baby->critical = baby->neonatal && (weeks < 30 || sick || random_chance(r, 1500));
	baby->feed = random_chance(r, CHANCE_FIRST_FEED_MATERNAL) ? (weeks < 32 && random_chance(r, 2500) ? "02" : "01") : "03";
	baby->skin = baby->live && random_chance(r, baby->neonatal && weeks < 34 ? 1500 : CHANCE_SKIN_TO_SKIN);
}

static void
draw_birth(Journey *j, Random *r, const GeneratePlan *plan, int gestation, bool stillborn)
{
	int			day = j->lmp + gestation;
	bool		breech;
	bool		spontaneous;
	int64		born;

	j->gestation = gestation;
	j->nbabies = j->fetuses;
	for (int i = 0; i < j->nbabies; i++)
		draw_baby(j, r, plan, i, gestation, stillborn && i == j->nbabies - 1);

	breech = strcmp(j->babies[0].presentation, "02") == 0 || strcmp(j->babies[0].presentation, "03") == 0;
	if (random_chance(r, breech ? 6500 : j->fetuses > 1 ? 5000 :
					  j->caesareans > 0 ? CHANCE_CAESAREAN_ONSET_AFTER_CAESAREAN : CHANCE_CAESAREAN_ONSET))
		j->onset = "2";
	else if (gestation >= 245 && random_chance(r, CHANCE_INDUCED))
		j->onset = spine_marginal_code(r, &induction_method);
	else
		j->onset = "1";
	if (stillborn && j->fetuses == 1 && j->onset[0] != '1')
		j->onset = "4";

	for (int i = 0; i < j->nbabies; i++)
	{
		Baby	   *baby = &j->babies[i];

		if (i > 0 && caesarean_method(j->babies[i - 1].method))
			baby->method = j->babies[i - 1].method;
		else
			baby->method = draw_method(j, r, baby->presentation, i == 0);
	}

	spontaneous = strchr("0159", j->babies[0].method[0]) != NULL;
	for (int i = 0; i < j->nbabies; i++)
		j->babies[i].place = "01";
	if (spontaneous && j->nbabies == 1)
	{
		const char *place = spine_marginal_code(r, &place_of_birth);

		/* away from an obstetric unit only where nothing speaks against it */
		if (strcmp(place, "01") != 0 && !stillborn && (gestation < 259 || j->onset[0] != '1' || j->caesareans > 0) &&
			strcmp(place, "07") != 0 && strcmp(place, "02") != 0)
			place = "01";
		j->babies[0].place = place;
		j->babies[0].water = (strcmp(place, "02") == 0 || strcmp(place, "03") == 0 || strcmp(place, "04") == 0) &&
			random_chance(r, 3300);
	}
	j->at_home = strcmp(j->babies[0].place, "04") == 0 || strcmp(j->babies[0].place, "05") == 0;

	if (j->babies[0].method[0] == '7')
		born = (int64) day * ONE_DAY + random_between(r, 9 * 60, 16 * 60);
	else
		born = (int64) day * ONE_DAY + random_below(r, ONE_DAY);
	for (int i = 0; i < j->nbabies; i++)
	{
		j->babies[i].born = born;
		/* all on the day of the first, so that their gestation is one */
		born = smaller(born + random_between(r, 1, caesarean_method(j->babies[i].method) ? 3 : 25),
					   (int64) day * ONE_DAY + ONE_DAY - 1);
	}
	j->end = j->babies[0].born;

	j->labour = 0;
	j->caesarean = 0;
	j->decision = 0;
	if (j->onset[0] != '2')
		j->labour = j->end - random_between(r, j->live_births == 0 ? 240 : 90, j->live_births == 0 ? 1100 : 600);
	for (int i = 0; i < j->nbabies && j->caesarean == 0; i++)
	{
		if (!caesarean_method(j->babies[i].method))
			continue;
		j->caesarean = larger(j->babies[i].born - random_between(r, 4, 12), j->end);
		if (i == 0)
			j->caesarean = j->end - random_between(r, 4, 12);
		j->decision = j->babies[i].method[0] == '7' ?
			j->caesarean - (int64) random_between(r, 5, 30) * ONE_DAY :
			j->caesarean - random_between(r, 20, 120);
	}
	if (j->decision != 0)
		j->decision = larger(j->decision, (int64) (j->booked + 1) * ONE_DAY);

	if (j->at_home)
		j->admitted = 0;
	else if (j->babies[0].method[0] == '7')
		j->admitted = j->end - random_between(r, 90, 180);
	else if (strchr("345", j->onset[0]) != NULL)
		j->admitted = j->labour - random_between(r, 120, 1500);
	else if (j->labour != 0)
		j->admitted = smaller(j->labour + random_between(r, 0, 180), j->end - 15);
	else
		j->admitted = j->end - random_between(r, 60, 2000);
	if (j->admitted != 0)
		j->admitted = larger(j->admitted, (int64) (j->booked + 1) * ONE_DAY);

	j->discharged = j->end + (j->caesarean ? random_between(r, 1900, 5000) :
							  spontaneous ? random_between(r, 420, 2300) : random_between(r, 1200, 3600));
	if (j->at_home)
		j->discharged = j->end + random_between(r, 120, 360);
	j->care_ends = j->end + (int64) random_between(r, 10, 28) * ONE_DAY;

	j->loss_ml = spine_marginal_value(r, j->caesarean ? &blood_loss_caesarean : &blood_loss);
	j->epidural = j->labour != 0 && !j->at_home && random_chance(r, j->live_births == 0 ? 4200 : 1800);
	j->episiotomy = !j->caesarean && random_chance(r, spontaneous ? 900 : 8500);
	j->tear = NULL;
	if (!j->caesarean)
	{
		int			at = random_below(r, 10000);

		if (at < (spontaneous ? 220 : 650))
			j->tear = random_chance(r, 9300) ? "10217006" : "399031001";
		else if (!j->episiotomy && at < 4800)
			j->tear = "6234006";
		else if (!j->episiotomy && at < 6800)
			j->tear = "57759005";
	}

	for (int i = 0; i < j->nbabies; i++)
	{
		Baby	   *baby = &j->babies[i];
		int			weeks = gestation / 7;

		if (!baby->live)
			continue;
		baby->fed = baby->born + random_between(r, 20, 300);
		baby->discharged = j->discharged;
		if (baby->neonatal)
		{
			baby->admitted = baby->born + random_between(r, 10, weeks < 34 ? 60 : 1200);
			if (random_chance(r, weeks < 24 ? 6000 : weeks < 28 ? 1500 : weeks < 32 ? 300 : 30))
				baby->died = baby->admitted + (int64) random_between(r, 60, 9 * ONE_DAY);
			baby->discharged = larger(j->discharged, baby->admitted +
									  (int64) random_between(r, 1, 5) * ONE_DAY + (int64) larger(0, 252 - gestation) * ONE_DAY * 9 / 10);
			if (baby->died != 0)
				baby->discharged = baby->died;
		}
		if (baby->died != 0 && baby->died < baby->fed)
			baby->fed = 0;
	}
}

static void
draw_stays(Journey *j, Random *r, const GeneratePlan *plan)
{
	int			first = random_below(r, plan->norganisations);
	bool		moves = random_chance(r, CHANCE_MOVE);
	int			shift = random_between(r, -5, 5);
	int			other = plan->norganisations > 1 ? random_below(r, plan->norganisations - 1) : 0;
	int			earliest = larger(j->booked + 14, j->lmp + 90);
	int			latest = (int) (j->end / ONE_DAY) - 9;

	j->nstays = 1;
	memset(j->stays, 0, sizeof(j->stays));
	j->stays[0].organisation = first;
	j->stays[0].booked = (int64) j->booked * ONE_DAY + random_between(r, 9 * 60, 16 * 60);
	j->stays[0].edd = j->lmp + 280;
	j->stays[0].until = PG_INT64_MAX;
	if (moves && plan->norganisations > 1 && latest > earliest)
	{
		int			day = spine_journey_weekday(random_between(r, earliest, latest));

		j->nstays = 2;
		j->stays[0].until = (int64) (day - 3) * ONE_DAY;
		j->stays[0].transferred_out = true;
		j->stays[1].organisation = (first + 1 + other) % plan->norganisations;
		j->stays[1].booked = (int64) day * ONE_DAY + random_between(r, 9 * 60, 16 * 60);
		j->stays[1].edd = j->lmp + 280 + shift;
		j->stays[1].until = PG_INT64_MAX;
		j->stays[1].transferred_in = true;
	}
	for (int i = 0; i < j->nstays; i++)
	{
		Stay	   *stay = &j->stays[i];
		int			number = local_number(stay->organisation, j->number);

		snprintf(stay->lpid, sizeof(stay->lpid), "M%07d", number);
		snprintf(stay->pregnancy, sizeof(stay->pregnancy), "PREG-%07d", number);
	}
	for (int i = 0; i < j->nbabies; i++)
		snprintf(j->babies[i].lpid, sizeof(j->babies[i].lpid), "B%07d-%d",
				 local_number(j->stays[j->nstays - 1].organisation, j->number), i + 1);
}

void
spine_journey_draw(Journey *j, Random *r, const GeneratePlan *plan, int pregnancy)
{
	bool		lost;
	bool		stillborn;
	int			gestation;
	int			booking;

	memset(j, 0, sizeof(*j));
	j->number = pregnancy;
	draw_mother(j, r, plan);
	lost = random_chance(r, CHANCE_LOSS_AFTER_BOOKING + CHANCE_TERMINATION);
	stillborn = random_chance(r, CHANCE_STILLBIRTH);
	gestation = spine_marginal_value(r, j->fetuses > 1 || stillborn ? &gestation_at_birth_multiple : &gestation_at_birth);
	if (stillborn)
		gestation = larger(gestation, 168);

	do
		booking = spine_marginal_value(r, &gestation_at_booking);
	while (booking > gestation - 7 || (lost && booking > 140));
	j->lmp = j->booked - booking;
	j->lmp_told = j->lmp + random_between(r, -4, 4);
	j->first_contact = j->booked - random_between(r, 0, smaller(21, booking - 28));
	j->late_reason = booking > 90 ? spine_marginal_code(r, &late_booking_reason) : NULL;

	if (lost)
	{
		int			day = j->lmp + random_between(r, booking + 3, smaller(booking + 50, 167));

		j->lost = random_below(r, CHANCE_LOSS_AFTER_BOOKING + CHANCE_TERMINATION) < CHANCE_TERMINATION ? "O04.9" : "O03.9";
		j->nbabies = 0;
		j->end = (int64) day * ONE_DAY + random_below(r, ONE_DAY);
		j->care_ends = j->end + (int64) random_between(r, 1, 12) * ONE_DAY;
	}
	else
	{
		j->lost = NULL;
		draw_birth(j, r, plan, gestation, stillborn);
	}
	draw_stays(j, r, plan);
}
