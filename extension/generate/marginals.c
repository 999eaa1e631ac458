/*
 * marginals.c
 *		The distributions that the generated pregnancies follow, as weights.
 *
 * Where a table says "published", the weights are the national counts of the NHS
 * maternity statistics for England 2021-22 (NHS Digital, Open Government Licence),
 * turned into shares of 1,000 or 10,000 by us, records with a missing value left
 * out. The others are our own assumptions, chosen to be plausible and no more.
 */
#include "postgres.h"

#include "generate/marginals.h"

#define MARGINAL(bands) {bands, lengthof(bands)}

/* published, years */
static const Band age_at_booking_bands[] = {
	{30, 16, 19}, {134, 20, 24}, {279, 25, 29}, {340, 30, 34},
	{178, 35, 39}, {36, 40, 44}, {3, 45, 49}
};
const Marginal age_at_booking = MARGINAL(age_at_booking_bands);

/* published, days; the three parts of the first band are ours */
static const Band gestation_at_booking_bands[] = {
	{60, 42, 48}, {236, 49, 58}, {370, 59, 70}, {240, 71, 90}, {63, 91, 140}, {31, 141, 240}
};
const Marginal gestation_at_booking = MARGINAL(gestation_at_booking_bands);

/*
 * Published, days, of 10,000; the multiple births, which are given a table of
 * their own, taken out of it.
 */
static const Band gestation_at_birth_bands[] = {
	{8, 161, 167}, {32, 168, 195}, {60, 196, 223}, {68, 224, 237}, {410, 238, 258},
	{855, 259, 265}, {1570, 266, 272}, {3110, 273, 279}, {2380, 280, 286},
	{1290, 287, 293}, {171, 294, 300}, {6, 301, 304}
};
const Marginal gestation_at_birth = MARGINAL(gestation_at_birth_bands);

static const Band gestation_at_birth_multiple_bands[] = {
	{15, 161, 167}, {45, 168, 195}, {80, 196, 223}, {90, 224, 237}, {330, 238, 258},
	{300, 259, 265}, {130, 266, 272}, {10, 273, 276}
};
const Marginal gestation_at_birth_multiple = MARGINAL(gestation_at_birth_multiple_bands);

/* published */
static const Band previous_live_births_bands[] = {
	{441, 0, 0}, {343, 1, 1}, {133, 2, 2}, {49, 3, 3}, {19, 4, 4}, {15, 5, 8}
};
const Marginal previous_live_births = MARGINAL(previous_live_births_bands);

/* the groups published, the division within a group ours */
static const Band ethnic_category_bands[] = {
	{545, 0, 0, "A"}, {6, 0, 0, "B"}, {155, 0, 0, "C"},
	{7, 0, 0, "D"}, {4, 0, 0, "E"}, {6, 0, 0, "F"}, {6, 0, 0, "G"},
	{38, 0, 0, "H"}, {42, 0, 0, "J"}, {14, 0, 0, "K"}, {27, 0, 0, "L"},
	{9, 0, 0, "M"}, {33, 0, 0, "N"}, {7, 0, 0, "P"},
	{8, 0, 0, "R"}, {31, 0, 0, "S"}, {47, 0, 0, "Z"}, {16, 0, 0, "99"}
};
const Marginal ethnic_category = MARGINAL(ethnic_category_bands);

/* published */
static const Band folic_acid_bands[] = {
	{253, 0, 0, "01"}, {622, 0, 0, "02"}, {92, 0, 0, "03"}, {33, 0, 0, "ZZ"}
};
const Marginal folic_acid = MARGINAL(folic_acid_bands);

/* published: surgical, medical, both */
static const Band induction_method_bands[] = {
	{191, 0, 0, "3"}, {570, 0, 0, "4"}, {239, 0, 0, "5"}
};
const Marginal induction_method = MARGINAL(induction_method_bands);

/* published, laid upon the spontaneous births: all others are in an obstetric unit */
static const Band place_of_birth_bands[] = {
	{553, 0, 0, "01"}, {191, 0, 0, "02"}, {10, 0, 0, "03"}, {53, 0, 0, "04"},
	{1, 0, 0, "05"}, {153, 0, 0, "07"}, {1, 0, 0, "08"}, {3, 0, 0, "09"},
	{1, 0, 0, "11"}, {37, 0, 0, "98"}
};
const Marginal place_of_birth = MARGINAL(place_of_birth_bands);

/* kg/m2 */
static const Band body_mass_index_bands[] = {
	{30, 16, 18}, {470, 19, 24}, {280, 25, 29}, {130, 30, 34}, {60, 35, 39}, {30, 40, 52}
};
const Marginal body_mass_index = MARGINAL(body_mass_index_bands);

static const Band employment_bands[] = {
	{660, 0, 0, "01"}, {90, 0, 0, "02"}, {40, 0, 0, "03"}, {20, 0, 0, "04"},
	{150, 0, 0, "05"}, {15, 0, 0, "06"}, {25, 0, 0, "ZZ"}
};
const Marginal employment = MARGINAL(employment_bands);

static const Band language_bands[] = {
	{800, 0, 0, "en"}, {40, 0, 0, "ar"}, {25, 0, 0, "ur"}, {25, 0, 0, "pa"}, {20, 0, 0, "so"},
	{20, 0, 0, "pl"}, {20, 0, 0, "pt"}, {15, 0, 0, "ro"}, {15, 0, 0, "bn"}, {10, 0, 0, "fr"},
	{7, 0, 0, "es"}, {3, 0, 0, "q4"}
};
const Marginal language = MARGINAL(language_bands);

static const Band late_booking_reason_bands[] = {
	{320, 0, 0, "01"}, {140, 0, 0, "02"}, {60, 0, 0, "03"}, {100, 0, 0, "04"}, {120, 0, 0, "05"},
	{60, 0, 0, "06"}, {90, 0, 0, "07"}, {60, 0, 0, "08"}, {50, 0, 0, "98"}
};
const Marginal late_booking_reason = MARGINAL(late_booking_reason_bands);

static const Band referral_source_bands[] = {
	{400, 0, 0, "01"}, {520, 0, 0, "02"}, {30, 0, 0, "04"}, {15, 0, 0, "05"}, {10, 0, 0, "09"}, {25, 0, 0, "98"}
};
const Marginal referral_source = MARGINAL(referral_source_bands);

/* ml */
static const Band blood_loss_bands[] = {
	{390, 150, 299}, {330, 300, 499}, {200, 500, 999}, {52, 1000, 1499}, {28, 1500, 3200}
};
const Marginal blood_loss = MARGINAL(blood_loss_bands);
static const Band blood_loss_caesarean_bands[] = {
	{50, 250, 299}, {360, 300, 499}, {450, 500, 999}, {100, 1000, 1499}, {40, 1500, 3600}
};
const Marginal blood_loss_caesarean = MARGINAL(blood_loss_caesarean_bands);

static const Band apgar_good_bands[] = {
	{40, 7, 7}, {110, 8, 8}, {500, 9, 9}, {350, 10, 10}
};
const Marginal apgar_good = MARGINAL(apgar_good_bands);
static const Band apgar_poor_bands[] = {
	{50, 1, 1}, {90, 2, 2}, {120, 3, 3}, {180, 4, 4}, {240, 5, 5}, {320, 6, 6}
};
const Marginal apgar_poor = MARGINAL(apgar_poor_bands);

/* outward codes of west London; the inward part of an address is invented */
static const Band postcode_district_bands[] = {
	{60, 0, 0, "W2"}, {50, 0, 0, "W3"}, {40, 0, 0, "W4"}, {40, 0, 0, "W5"}, {50, 0, 0, "W6"},
	{60, 0, 0, "W7"}, {30, 0, 0, "W8"}, {50, 0, 0, "W9"}, {60, 0, 0, "W10"}, {30, 0, 0, "W11"},
	{70, 0, 0, "W12"}, {40, 0, 0, "W13"}, {50, 0, 0, "SW6"}, {40, 0, 0, "SW10"}, {60, 0, 0, "NW10"},
	{50, 0, 0, "TW3"}, {50, 0, 0, "TW4"}, {40, 0, 0, "TW13"}, {40, 0, 0, "TW14"}, {50, 0, 0, "UB1"},
	{40, 0, 0, "UB2"}, {40, 0, 0, "HA0"}
};
const Marginal postcode_district = MARGINAL(postcode_district_bands);

static const Band overseas_category_bands[] = {
	{930, 0, 0, "A"}, {30, 0, 0, "B"}, {10, 0, 0, "C"}, {5, 0, 0, "D"}, {8, 0, 0, "E"},
	{10, 0, 0, "F"}, {7, 0, 0, "P"}
};
const Marginal overseas_category = MARGINAL(overseas_category_bands);

static const Band *
marginal_band(Random *r, const Marginal *m)
{
	int			total = 0;
	int			at;

	for (int i = 0; i < m->n; i++)
		total += m->bands[i].weight;
	at = random_below(r, total);
	for (int i = 0; i < m->n - 1; i++)
	{
		at -= m->bands[i].weight;
		if (at < 0)
			return &m->bands[i];
	}
	return &m->bands[m->n - 1];
}

int
spine_marginal_value(Random *r, const Marginal *m)
{
	const Band *band = marginal_band(r, m);

	return random_between(r, band->low, band->high);
}

const char *
spine_marginal_code(Random *r, const Marginal *m)
{
	return marginal_band(r, m)->code;
}

/*
 * Ours: with a spread of 13 % about these means, the published bands of birth
 * weight at term come out.
 */
int
spine_marginal_mean_weight(int weeks)
{
	static const int mean[] = {
		500, 580, 680, 790, 900, 1020, 1150, 1300, 1470, 1650, 1850,	/* 22 .. 32 */
		2060, 2280, 2510, 2740, 2990, 3210, 3390, 3540, 3670, 3740, 3760	/* 33 .. 43 */
	};

	return mean[Min(Max(weeks, 22), 43) - 22];
}
