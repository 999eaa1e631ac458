/*
 * tell.c
 *		What the systems of the organisations say about a pregnancy: the records.
 *
 * A record is sent when what it tells has happened, and sent again when more is
 * known: the booking at the end of care, the birth and the baby at discharge, the
 * baby's NHS number when it comes late.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/datetime.h"

#include "generate/journey.h"
#include "generate/marginals.h"
#include "generate/record.h"

/* short names for what almost every line here calls */
#define begin_record spine_record_begin
#define end_record spine_record_end
#define put spine_record_put
#define put_number spine_record_put_number
#define put_date spine_record_put_date
#define put_time spine_record_put_time
#define put_yes spine_record_put_yes

/* purposes of the streams of random numbers */
#define STREAM_JOURNEY 1
#define STREAM_FAULTS 2
#define STREAM_ORGANISATION 3
#define STREAM_ORGANISATION_FAULTS 4

/* discharge reasons of the data set */
#define DISCHARGE_COMPLETE		"01"
#define DISCHARGE_TRANSFERRED	"02"
#define DISCHARGE_MISCARRIAGE	"03"
#define DISCHARGE_TERMINATION	"04"

static void
site(const GeneratePlan *plan, int organisation, char *out, size_t size)
{
	snprintf(out, size, "%s01", plan->organisations[organisation]);
}

static void
put_site(Work *w, const char *name, const char *setting)
{
	char		code[16];

	if (strcmp(setting, "04") == 0 || strcmp(setting, "05") == 0)
		strlcpy(code, "ZZ201", sizeof(code));
	else if (strcmp(setting, "09") == 0 || strcmp(setting, "11") == 0)
		strlcpy(code, "ZZ888", sizeof(code));
	else
		site(w->plan, w->organisation, code, sizeof(code));
	put(w, name, ITEM_FREE, code);
}

/* Staff of an organisation: M midwives, O obstetricians, S sonographers, N neonatal nurses. */
static const struct
{
	char		letter;
	int			n;
	const char *staff_group;
	const char *body;
	const char *job;
	const char *occupation;
}			staff[] = {
	{'M', 12, "01", "09", "R1320", "N2C"},
	{'O', 4, "02", "02", "R0010", "020"},
	{'S', 2, "05", "08", "R1040", "S4F"},
	{'N', 3, "04", "09", "R1200", "N6E"}
};

static void
any_staff(Work *w, int organisation, char letter, char *id, size_t size)
{
	int			n = 1;

	for (int i = 0; i < lengthof(staff); i++)
		if (staff[i].letter == letter)
			n = staff[i].n;
	snprintf(id, size, "%s%c%02d", w->plan->organisations[organisation], letter,
			 1 + random_below(&w->random, n));
}

static void
put_staff(Work *w, const char *name, char letter)
{
	char		id[16];

	any_staff(w, w->organisation, letter, id, sizeof(id));
	put(w, name, ITEM_FREE, id);
}

static void
put_team(Work *w, const char *name)
{
	char		id[24];

	snprintf(id, sizeof(id), "%s-TEAM%d", w->plan->organisations[w->organisation],
			 1 + random_below(&w->random, 5));
	put(w, name, ITEM_FREE, id);
}

/* A record about the mother. local_id is what the system calls the record. */
static void
begin_mother(Work *w, const Journey *j, const Stay *stay, const char *group, int64 when, const char *local_id)
{
	begin_record(w, group, stay->organisation, when);
	strlcpy(w->nhs, j->nhs, sizeof(w->nhs));
	strlcpy(w->local_patient, stay->lpid, sizeof(w->local_patient));
	strlcpy(w->local_record, local_id, sizeof(w->local_record));
}

/* The same, of her pregnancy, with a number of its own among those of the stay. */
static void
begin_pregnancy(Work *w, const Journey *j, Stay *stay, const char *group, int64 when)
{
	char		id[48];

	snprintf(id, sizeof(id), "%s-%d", stay->pregnancy + 5, ++stay->others);
	begin_mother(w, j, stay, group, when, id);
	strlcpy(w->local_episode, stay->pregnancy, sizeof(w->local_episode));
	put(w, "pregnancy_id", ITEM_FREE, stay->pregnancy);
}

/* A record that has its person and episode from a parent. */
static void
begin_child(Work *w, Stay *stay, const char *group, int64 when, const char *parent_item, const char *parent)
{
	begin_record(w, group, stay->organisation, when);
	snprintf(w->local_record, sizeof(w->local_record), "%s-%d", stay->pregnancy + 5, ++stay->others);
	put(w, parent_item, ITEM_MANDATORY | ITEM_PARENT, parent);
}

static void
tell_mother(Work *w, const Journey *j, const Stay *stay)
{
	begin_mother(w, j, stay, "mother", stay->booked, stay->lpid);
	w->parent = true;
	put(w, "mother_local_id", 0, stay->lpid);
	put(w, "mother_local_id_organisation", 0, w->plan->organisations[stay->organisation]);
	put_date(w, "mother_birth_date", 0, j->born);
	put(w, "residence_responsible_organisation", 0, j->commissioner);
	if (j->nhs[0] != '\0')
		put(w, "mother_nhs_number", ITEM_NHS_NUMBER, j->nhs);
	put(w, "mother_nhs_number_status", ITEM_CODE, j->nhs[0] != '\0' ? "01" : "07");
	put(w, "postcode", ITEM_FREE, j->postcode);
	put(w, "mother_ethnic_category", ITEM_CODE, j->ethnic);
	end_record(w);
}

static void
tell_circumstances(Work *w, const Journey *j, Stay *stay)
{
	static const char *const circumstances[] = {
		"73438004", "105531004", "32911000", "390790000", "446654005", "706893006", "266710000"
	};
	char		id[48];
	int			day = (int) (stay->booked / ONE_DAY);

	snprintf(id, sizeof(id), "%s-GP", stay->lpid);
	begin_mother(w, j, stay, "gp_registration", stay->booked + 1, id);
	put(w, "mother_local_id", 0, stay->lpid);
	put(w, "gp_practice", ITEM_MANDATORY, j->practice);
	put_date(w, "gp_registration_start_date", ITEM_BEGIN, j->registered);
	if (random_chance(&w->random, 150))
		put_date(w, "gp_registration_end_date", ITEM_END, day - 1);
	put(w, "gp_responsible_organisation", 0, j->commissioner);
	end_record(w);

	if (j->social || random_chance(&w->random, 400))
	{
		int			n = random_between(&w->random, 1, 2);
		int			at = random_below(&w->random, lengthof(circumstances));

		for (int i = 0; i < n; i++)
		{
			snprintf(id, sizeof(id), "%s-SC%d", stay->lpid, i + 1);
			begin_mother(w, j, stay, "social_circumstances", stay->booked + 2, id);
			put(w, "mother_local_id", 0, stay->lpid);
			put(w, "social_circumstance_code", ITEM_MANDATORY | ITEM_SNOMED,
				circumstances[(at + i) % lengthof(circumstances)]);
			put_date(w, "social_circumstance_date", ITEM_MANDATORY, day);
			end_record(w);
		}
	}

	if (strcmp(j->overseas, "A") != 0 || random_chance(&w->random, 3000))
	{
		snprintf(id, sizeof(id), "%s-OV", stay->lpid);
		begin_mother(w, j, stay, "overseas_charging", stay->booked + 3, id);
		put(w, "mother_local_id", 0, stay->lpid);
		put(w, "charging_category", ITEM_MANDATORY | ITEM_CODE, j->overseas);
		put_date(w, "charging_category_date", 0, day);
		end_record(w);
	}
}

/* ended: the end of this organisation's care is known. */
static void
tell_booking(Work *w, const Journey *j, Stay *stay, int64 when, bool ended)
{
	char		code[16];
	int			day = (int) (stay->booked / ONE_DAY);

	begin_mother(w, j, stay, "booking", when, stay->pregnancy);
	strlcpy(w->local_episode, stay->pregnancy, sizeof(w->local_episode));
	w->parent = true;
	put(w, "pregnancy_id", ITEM_FREE, stay->pregnancy);
	put(w, "mother_local_id", 0, stay->lpid);
	put(w, "commissioner_organisation", 0, j->commissioner);
	put_date(w, "antenatal_booking_date", ITEM_MANDATORY | ITEM_BEGIN, day);
	put_date(w, "first_contact_date", 0, stay->transferred_in ? day : j->first_contact);
	put_date(w, "edd_agreed", 0, stay->edd);
	site(w->plan, stay->organisation, code, sizeof(code));
	put(w, "booking_site", 0, code);
	put(w, "edd_method", ITEM_CODE, j->edd_method);
	put(w, "referral_source", ITEM_CODE, stay->transferred_in ? "03" : j->source);
	if (stay->transferred_in)
		put(w, "origin_provider_organisation", 0, w->plan->organisations[j->stays[0].organisation]);
	if (ended && stay->transferred_out)
		put(w, "receiving_organisation", 0, w->plan->organisations[j->stays[1].organisation]);
	if (!stay->transferred_in && j->late_reason)
		put(w, "late_booking_reason", ITEM_CODE, j->late_reason);
	if (stay->transferred_in && day - (stay->edd - 280) > 90)
		put(w, "late_booking_reason", ITEM_CODE, "04");
	put(w, "first_contact_professional_type", 0, "01");
	put_date(w, "last_menstrual_period_date", 0, j->lmp_told);
	put_yes(w, "disability_indicator", j->disability);
	put(w, "preferred_language", 0, j->language);
	put_yes(w, "mental_health_assessed_indicator", j->mental_health);
	put_yes(w, "complex_social_factors_indicator", j->social);
	put(w, "mother_employment_status", ITEM_CODE, j->employment);
	put_yes(w, "support_status_indicator", j->support);
	put(w, "partner_employment_status", ITEM_CODE, j->employment_partner);
	put_number(w, "previous_caesareans", j->caesareans);
	put_number(w, "previous_live_births", j->live_births);
	put_number(w, "previous_stillbirths", j->stillbirths);
	put_number(w, "previous_losses_under_24_weeks", j->losses);
	put(w, "folic_acid_supplement", ITEM_CODE, j->folic);
	if (ended)
	{
		put_date(w, "maternity_discharge_date", ITEM_END, (int) (when / ONE_DAY));
		put(w, "maternity_discharge_reason", ITEM_CODE,
			stay->transferred_out ? DISCHARGE_TRANSFERRED :
			j->lost == NULL ? DISCHARGE_COMPLETE :
			j->lost[2] == '4' ? DISCHARGE_TERMINATION : DISCHARGE_MISCARRIAGE);
	}
	end_record(w);
}

static void
tell_care_plan(Work *w, const Journey *j, Stay *stay, int64 when, const char *type)
{
	bool		continuity = random_chance(&w->random, 3600);
	char		code[16];

	begin_pregnancy(w, j, stay, "care_plan", when);
	put_date(w, "care_plan_date", ITEM_MANDATORY, (int) (when / ONE_DAY));
	put(w, "care_plan_type", ITEM_MANDATORY | ITEM_CODE, type);
	put_yes(w, "personalised_care_plan_indicator", random_chance(&w->random, 8200));
	put_yes(w, "continuity_of_carer_indicator", continuity);
	if (continuity)
	{
		put_staff(w, "care_professional_id", 'M');
		put_team(w, "care_team_id");
	}
	site(w->plan, stay->organisation, code, sizeof(code));
	put(w, "planned_delivery_site", 0, j->at_home ? "ZZ201" : code);
	put(w, "planned_delivery_setting", ITEM_CODE, j->at_home ? "04" : j->caesareans > 0 || j->fetuses > 1 ? "01" :
		random_chance(&w->random, 7000) ? "01" : "02");
	end_record(w);
}

static void
tell_scan(Work *w, const Journey *j, Stay *stay, int64 when)
{
	int			day = (int) (when / ONE_DAY);
	int			n = j->fetuses;

	for (int i = 0; i < n; i++)
	{
		char		fetus[48];

		begin_pregnancy(w, j, stay, "dating_scan", when);
		put_date(w, "scan_offer_date", 0, larger(day - 10, (int) (stay->booked / ONE_DAY)));
		put(w, "scan_offer_status", ITEM_CODE, "03");
		put_date(w, "scan_date", 0, day);
		put_number(w, "scan_gestation", day - (stay->edd - 280));
		put_number(w, "scan_fetus_count", n);
		if (n > 1)
		{
			char		order[4];

			snprintf(fetus, sizeof(fetus), "FET-%s-%d", stay->pregnancy + 5, i + 1);
			snprintf(order, sizeof(order), "%d", i + 1);
			put(w, "fetus_id", ITEM_FREE, fetus);
			put(w, "fetal_order", 0, order);
		}
		put_yes(w, "scan_abnormality_indicator", random_chance(&w->random, 120));
		put(w, "scan_organisation", 0, w->plan->organisations[stay->organisation]);
		end_record(w);
	}
}

static void
tell_observation(Work *w, const Journey *j, Stay *stay, int64 when, const char *code, const char *value,
				 const char *unit)
{
	begin_pregnancy(w, j, stay, "mother_finding", when);
	put_date(w, "observation_date", 0, (int) (when / ONE_DAY));
	put(w, "observation_scheme", ITEM_CODE, "03");
	put(w, "observation_code", ITEM_FREE, code);
	put(w, "observation_value", ITEM_FREE, value);
	put(w, "observation_unit", ITEM_FREE, unit);
	end_record(w);
}

static void
tell_finding(Work *w, const Journey *j, Stay *stay, int64 when, const char *code)
{
	begin_pregnancy(w, j, stay, "mother_finding", when);
	put_date(w, "finding_date", 0, (int) (when / ONE_DAY));
	put(w, "finding_scheme", ITEM_CODE, "04");
	put(w, "finding_code", ITEM_FREE, code);
	end_record(w);
}

static void
tell_diagnosis(Work *w, const Journey *j, Stay *stay, int64 when, const char *code, bool provisional)
{
	if (provisional)
	{
		begin_pregnancy(w, j, stay, "provisional_diagnosis", when - 2 * ONE_DAY);
		put(w, "diagnosis_scheme", ITEM_MANDATORY | ITEM_CODE, "02");
		put(w, "provisional_diagnosis_code", ITEM_MANDATORY | ITEM_FREE, code);
		put_date(w, "provisional_diagnosis_date", 0, (int) (when / ONE_DAY) - 2);
		end_record(w);
		if (random_chance(&w->random, 3500))
			return;				/* not confirmed */
	}
	begin_pregnancy(w, j, stay, "diagnosis", when);
	put(w, "diagnosis_scheme", ITEM_MANDATORY | ITEM_CODE, "02");
	put(w, "diagnosis_code", ITEM_MANDATORY | ITEM_FREE, code);
	put_yes(w, "complicating_diagnosis_indicator", true);
	put_date(w, "diagnosis_date", 0, (int) (when / ONE_DAY));
	end_record(w);
}

static void
tell_history(Work *w, const Journey *j, Stay *stay)
{
	static const char *const diseases[] = {"J45.9", "E03.9", "F32.9", "G43.9", "N80.9", "E11.9", "D50.9", "F41.1"};
	static const char *const situations[] = {"160303001", "160357008", "266894000"};
	Random	   *r = &w->random;

	if (random_chance(r, 3200))
	{
		begin_pregnancy(w, j, stay, "medical_history", stay->booked + 20);
		put(w, "diagnosis_scheme", ITEM_MANDATORY | ITEM_CODE, "02");
		put(w, "previous_diagnosis_code", ITEM_MANDATORY | ITEM_FREE, diseases[random_below(r, lengthof(diseases))]);
		put_date(w, "diagnosis_date", 0, j->booked - random_between(r, 300, 5000));
		end_record(w);
	}
	if (j->caesareans > 0)
	{
		begin_pregnancy(w, j, stay, "medical_history", stay->booked + 21);
		put(w, "diagnosis_scheme", ITEM_MANDATORY | ITEM_CODE, "02");
		put(w, "previous_diagnosis_code", ITEM_MANDATORY | ITEM_FREE, "O82.9");
		put_date(w, "diagnosis_date", 0, j->booked - random_between(r, 450, 2500));
		end_record(w);
	}
	if (random_chance(r, 2800))
	{
		begin_pregnancy(w, j, stay, "family_history", stay->booked + 22);
		put(w, "situation_scheme", ITEM_MANDATORY | ITEM_CODE, "04");
		put(w, "situation_code", ITEM_MANDATORY | ITEM_FREE, situations[random_below(r, lengthof(situations))]);
		end_record(w);
	}
}

static void
tell_measurements(Work *w, const Journey *j, Stay *stay)
{
	char		value[16];
	int64		when = stay->booked + 15;

	snprintf(value, sizeof(value), "%d", j->height);
	tell_observation(w, j, stay, when, "50373000", value, "cm");
	snprintf(value, sizeof(value), "%d.%d", j->weight / 10, j->weight % 10);
	tell_observation(w, j, stay, when, "27113001", value, "kg");
	snprintf(value, sizeof(value), "%d.%d", j->bmi / 10, j->bmi % 10);
	tell_observation(w, j, stay, when, "60621009", value, "kg/m2");
	tell_finding(w, j, stay, when, j->smoker ? "77176002" : j->ex_smoker ? "8517006" : "266919005");
	if (j->smoker)
	{
		snprintf(value, sizeof(value), "%d", j->cigarettes);
		tell_observation(w, j, stay, when, "230056004", value, "/d");
	}
	snprintf(value, sizeof(value), "%d", j->smoker ? random_between(&w->random, 4, 25) : random_between(&w->random, 0, 3));
	tell_observation(w, j, stay, when, "251900003", value, "ppm");
}

/* What is done at a contact: one kind of entry, and perhaps a score. */
typedef struct Activity
{
	const char *procedure;		/* SNOMED */
	const char *observation;	/* SNOMED */
	const char *unit;
	int			value;
	const char *tool;			/* SNOMED, of a score */
	int			score;
} Activity;

static void
tell_activity(Work *w, Stay *stay, const char *contact, int64 when, const Activity *activity)
{
	char		id[24];
	char		value[16];

	snprintf(id, sizeof(id), "A%s-%03d", stay->pregnancy + 5, ++stay->activities);
	begin_child(w, stay, "care_activity", when, "care_contact_id", contact);
	w->parent = activity->tool != NULL;
	strlcpy(w->local_record, id, sizeof(w->local_record));
	put(w, "care_activity_id", 0, id);
	put_staff(w, "care_professional_id", 'M');
	put_number(w, "activity_duration", 5 * random_between(&w->random, 1, 6));
	if (activity->procedure)
	{
		put(w, "procedure_scheme", ITEM_CODE, "06");
		put(w, "procedure_code", ITEM_FREE, activity->procedure);
	}
	if (activity->observation)
	{
		put(w, "observation_scheme", ITEM_CODE, "03");
		put(w, "observation_code", ITEM_FREE, activity->observation);
		snprintf(value, sizeof(value), "%d", activity->value);
		put(w, "observation_value", ITEM_FREE, value);
		put(w, "observation_unit", ITEM_FREE, activity->unit);
	}
	end_record(w);

	if (activity->tool)
	{
		begin_child(w, stay, "contact_assessment", when + 1, "care_activity_id", id);
		put(w, "assessment_tool", ITEM_MANDATORY | ITEM_SNOMED, activity->tool);
		snprintf(value, sizeof(value), "%d", activity->score);
		put(w, "assessment_score", ITEM_FREE, value);
		end_record(w);
	}
}

static void
observed(Work *w, Stay *stay, const char *contact, int64 when, const char *code, int value, const char *unit)
{
	Activity	activity = {0};

	activity.observation = code;
	activity.value = value;
	activity.unit = unit;
	tell_activity(w, stay, contact, when, &activity);
}

static void
done(Work *w, Stay *stay, const char *contact, int64 when, const char *procedure)
{
	Activity	activity = {0};

	activity.procedure = procedure;
	tell_activity(w, stay, contact, when, &activity);
}

static void
scored(Work *w, Stay *stay, const char *contact, int64 when, const char *procedure, const char *tool, int score)
{
	Activity	activity = {0};

	activity.procedure = procedure;
	activity.tool = tool;
	activity.score = score;
	tell_activity(w, stay, contact, when, &activity);
}

/* One contact with what was done at it. weeks: of gestation, -1 after the birth. */
static void
tell_contact(Work *w, const Journey *j, Stay *stay, int64 when, int weeks, bool first)
{
	Random	   *r = &w->random;
	char		id[24];
	char		code[16];
	int			kept = first ? 0 : random_below(r, 1000);
	const char *attendance = kept < 905 ? "5" : kept < 930 ? "6" : kept < 965 ? "3" : kept < 985 ? "2" : "4";
	bool		seen = kept < 930;
	bool		remote = !first && random_chance(r, 900);
	int64		told = when + 35;	/* after the booking, at the first */
	int			systolic;

	snprintf(id, sizeof(id), "C%s-%02d", stay->pregnancy + 5, ++stay->contacts);
	begin_mother(w, j, stay, "care_contact", told, id);
	strlcpy(w->local_episode, stay->pregnancy, sizeof(w->local_episode));
	w->parent = true;
	put(w, "care_contact_id", 0, id);
	put(w, "pregnancy_id", ITEM_FREE, stay->pregnancy);
	put_date(w, "contact_date", ITEM_MANDATORY | ITEM_BEGIN, (int) (when / ONE_DAY));
	put_time(w, "contact_time", when);
	put(w, "commissioner_organisation", 0, j->commissioner);
	put(w, "administrative_category", ITEM_CODE, "01");
	if (seen)
		put_number(w, "contact_duration", first ? 60 : 5 * random_between(r, 2, 7));
	put(w, "consultation_type", ITEM_CODE, first ? "01" : "02");
	put(w, "contact_subject", ITEM_CODE, "01");
	put(w, "consultation_medium", ITEM_CODE, remote ? "02" : "01");
	put(w, "location_type", ITEM_CODE, remote ? "X01" : weeks < 0 && random_chance(r, 7000) ? "A01" :
		random_chance(r, 6000) ? "B01" : "E01");
	site(w->plan, stay->organisation, code, sizeof(code));
	put(w, "treatment_site", 0, code);
	put_yes(w, "group_therapy_indicator", false);
	put(w, "attendance", ITEM_CODE, attendance);
	if (attendance[0] == '2' || attendance[0] == '4')
	{
		int			day = (int) (when / ONE_DAY);

		put_date(w, "cancellation_date", 0, day - random_between(r, 0, 5));
		put(w, "cancellation_reason", ITEM_CODE, attendance[0] == '2' ? "01" : "02");
		put_date(w, "replacement_offered_date", 0, day);
		put_date(w, "replacement_booked_date", 0, day + random_between(r, 2, 10));
	}
	end_record(w);
	if (!seen)
		return;

	systolic = 108 + random_below(r, 28) + (j->hypertension && weeks > 24 ? 24 : 0);
	if (!remote)
	{
		observed(w, stay, id, told + 1, "271649006", systolic, "mm[Hg]");
		observed(w, stay, id, told + 2, "271650006", systolic * 62 / 100 + random_below(r, 8), "mm[Hg]");
	}
	if (first)
		scored(w, stay, id, told + 3, "424441002", "836521000000107", j->mental_health ? random_between(r, 3, 6) : random_below(r, 3));
	else if (weeks >= 0)
	{
		done(w, stay, id, told + 3, "424525001");
		if (!remote && weeks >= 26)
			observed(w, stay, id, told + 4, "249016007", weeks + random_between(r, -2, 2), "cm");
		if (!remote && weeks >= 16)
			observed(w, stay, id, told + 5, "249043002", random_between(r, 118, 158), "/min");
		if (weeks == 28)
			observed(w, stay, id, told + 6, "271026005", j->anaemia ? random_between(r, 84, 104) : random_between(r, 106, 135), "g/L");
	}
	else if (random_chance(r, 5000))
		scored(w, stay, id, told + 3, "386216000", "450320001", j->mental_health ? random_between(r, 6, 19) : random_between(r, 0, 11));
}

static void
tell_spell(Work *w, const Journey *j, Stay *stay, int64 from, int64 until, const char *method,
		   const char *discharge_method, bool delivery)
{
	Random	   *r = &w->random;
	char		id[24];
	char		code[16];
	char		ward[16];
	int			begin = (int) (from / ONE_DAY);
	int			end = (int) (until / ONE_DAY);
	int64		moved = delivery ? smaller(j->end + random_between(r, 90, 240), until - 30) : until;

	snprintf(id, sizeof(id), "S%s-%d", stay->pregnancy + 5, ++stay->spells);
	site(w->plan, stay->organisation, code, sizeof(code));

	begin_mother(w, j, stay, "hospital_spell", until, id);
	strlcpy(w->local_episode, stay->pregnancy, sizeof(w->local_episode));
	w->parent = true;
	put(w, "hospital_spell_id", 0, id);
	put(w, "pregnancy_id", ITEM_FREE, stay->pregnancy);
	put_date(w, "spell_start_date", ITEM_MANDATORY | ITEM_BEGIN, begin);
	put_time(w, "spell_start_time", from);
	put(w, "admission_source", ITEM_CODE, "19");
	put(w, "patient_classification", ITEM_CODE, delivery ? "5" : "1");
	put(w, "admission_method", ITEM_CODE, method);
	put_date(w, "spell_discharge_date", ITEM_END, end);
	put_time(w, "spell_discharge_time", until);
	put(w, "discharge_method", ITEM_CODE, discharge_method);
	put(w, "discharge_destination", ITEM_CODE, "19");
	end_record(w);

	begin_child(w, stay, "spell_commissioner", until + 1, "hospital_spell_id", id);
	put(w, "commissioner_organisation", ITEM_MANDATORY, j->commissioner);
	put_date(w, "commissioner_start_date", ITEM_MANDATORY | ITEM_BEGIN, begin);
	put_date(w, "commissioner_end_date", ITEM_END, end);
	end_record(w);

	for (int i = 0; i < (delivery ? 2 : 1); i++)
	{
		int64		ward_from = i == 0 ? from : moved;
		int64		ward_until = i == 0 ? moved : until;

		begin_child(w, stay, "ward_stay", until + 2, "hospital_spell_id", id);
		put_date(w, "ward_start_date", ITEM_MANDATORY | ITEM_BEGIN, (int) (ward_from / ONE_DAY));
		put_time(w, "ward_start_time", ward_from);
		put_date(w, "ward_end_date", ITEM_END, (int) (ward_until / ONE_DAY));
		put_time(w, "ward_end_time", ward_until);
		put(w, "treatment_site", 0, code);
		snprintf(ward, sizeof(ward), "%s-%s", w->plan->organisations[stay->organisation],
				 !delivery ? "ANW" : i == 0 ? "LW" : "PNW");
		put(w, "ward_code", ITEM_FREE, ward);
		end_record(w);
	}

	begin_child(w, stay, "assigned_professional", until + 3, "hospital_spell_id", id);
	put_staff(w, "care_professional_id", delivery && !j->caesarean ? 'M' : 'O');
	w->items[w->nitems - 1].flags |= ITEM_MANDATORY;
	put_team(w, "care_team_id");
	put_date(w, "assignment_start_date", ITEM_MANDATORY | ITEM_BEGIN, begin);
	put_date(w, "assignment_end_date", ITEM_END, end);
	put(w, "treatment_function", ITEM_CODE, delivery && !j->caesarean ? "560" : "501");
	end_record(w);
}

/* discharged: she has gone home, and that is known. */
static void
tell_labour(Work *w, const Journey *j, Stay *stay, const char *id, int64 when, bool discharged)
{
	begin_mother(w, j, stay, "labour_delivery", when, id);
	strlcpy(w->local_episode, stay->pregnancy, sizeof(w->local_episode));
	w->parent = true;
	put(w, "labour_delivery_id", 0, id);
	put(w, "pregnancy_id", ITEM_FREE, stay->pregnancy);
	put_site(w, "intrapartum_site", j->babies[0].place);
	put(w, "intrapartum_setting", ITEM_CODE, j->babies[0].place);
	put(w, "labour_onset_method", ITEM_CODE, j->onset);
	if (j->labour != 0)
	{
		put_date(w, "labour_onset_date", ITEM_BEGIN, (int) (j->labour / ONE_DAY));
		put_time(w, "labour_onset_time", j->labour);
	}
	if (j->caesarean != 0)
	{
		put_date(w, "caesarean_date", 0, (int) (j->caesarean / ONE_DAY));
		put_time(w, "caesarean_time", j->caesarean);
	}
	if (j->admitted != 0)
	{
		put_date(w, "delivery_admission_date", ITEM_BEGIN, (int) (j->admitted / ONE_DAY));
		put_time(w, "delivery_admission_time", j->admitted);
	}
	if (j->decision != 0)
	{
		put_date(w, "decision_to_deliver_date", 0, (int) (j->decision / ONE_DAY));
		put_time(w, "decision_to_deliver_time", j->decision);
	}
	if (j->admitted != 0)
		put(w, "delivery_admission_method", ITEM_CODE, j->babies[0].method[0] == '7' ? "11" : "31");
	if (discharged && j->admitted != 0)
	{
		put_date(w, "mother_discharge_date", ITEM_END, (int) (j->discharged / ONE_DAY));
		put_time(w, "mother_discharge_time", j->discharged);
		put(w, "mother_discharge_method", ITEM_CODE, "1");
		put(w, "mother_discharge_destination", ITEM_CODE, "19");
	}
	put(w, "postnatal_lead_organisation", 0, w->plan->organisations[stay->organisation]);
	end_record(w);
}

static void
tell_labour_activity(Work *w, Stay *stay, const char *labour, int64 when, const char *procedure,
					 const char *finding, const char *observation, int value, const char *unit)
{
	char		text[16];

	begin_child(w, stay, "labour_activity", when, "labour_delivery_id", labour);
	put_date(w, "mother_intervention_date", ITEM_MANDATORY, (int) (when / ONE_DAY));
	put_time(w, "mother_intervention_time", when);
	put_staff(w, "care_professional_id", 'M');
	put_yes(w, "maternal_critical_incident_indicator", observation && value >= 2500);
	if (procedure)
	{
		bool		opcs = procedure[0] > '9';

		put(w, "procedure_scheme", ITEM_CODE, opcs ? "02" : "06");
		put(w, "procedure_code", ITEM_FREE, procedure);
	}
	if (finding)
	{
		put(w, "finding_scheme", ITEM_CODE, "04");
		put(w, "finding_code", ITEM_FREE, finding);
	}
	if (observation)
	{
		put(w, "observation_scheme", ITEM_CODE, "03");
		put(w, "observation_code", ITEM_FREE, observation);
		snprintf(text, sizeof(text), "%d", value);
		put(w, "observation_value", ITEM_FREE, text);
		put(w, "observation_unit", ITEM_FREE, unit);
	}
	end_record(w);
}

static const char *
delivery_procedure(const Journey *j)
{
	switch (j->babies[0].method[0])
	{
		case '2':
		case '3':
			return "R215";
		case '4':
			return "R222";
		case '5':
			return "R201";
		case '7':
			return "R172";
		case '8':
			return "R182";
		default:
			return "R249";
	}
}

static void
begin_baby(Work *w, const Baby *baby, Stay *stay, const char *group, int64 when, bool numbered)
{
	begin_record(w, group, stay->organisation, when);
	if (numbered)
		strlcpy(w->nhs, baby->nhs, sizeof(w->nhs));
	strlcpy(w->local_patient, baby->lpid, sizeof(w->local_patient));
	snprintf(w->local_record, sizeof(w->local_record), "%s-%d", stay->pregnancy + 5, ++stay->others);
}

static void
tell_baby(Work *w, const Journey *j, Stay *stay, int n, const char *labour, int64 when, bool discharged)
{
	const Baby *baby = &j->babies[n];
	bool		numbered = baby->nhs[0] != '\0' && (discharged || !baby->number_later);
	char		order[4];

	begin_baby(w, baby, stay, "baby", when, numbered);
	strlcpy(w->local_record, baby->lpid, sizeof(w->local_record));
	w->parent = true;
	put(w, "baby_local_id", 0, baby->lpid);
	put(w, "labour_delivery_id", ITEM_MANDATORY, labour);
	put(w, "baby_local_id_organisation", 0, w->plan->organisations[stay->organisation]);
	put_date(w, "baby_birth_date", ITEM_MANDATORY | ITEM_BEGIN, (int) (baby->born / ONE_DAY));
	put_time(w, "baby_birth_time", baby->born);
	put(w, "pregnancy_outcome", ITEM_CODE, baby->outcome);
	put(w, "phenotypic_sex", ITEM_CODE, baby->sex == 1 ? "1" : "2");
	put(w, "baby_ethnic_category", ITEM_CODE, j->ethnic);
	if (numbered)
		put(w, "baby_nhs_number", ITEM_NHS_NUMBER, baby->nhs);
	put(w, "baby_nhs_number_status", ITEM_CODE, numbered ? "01" : baby->live ? "08" : "07");
	if (j->nbabies > 1)
	{
		char		fetus[32];

		snprintf(fetus, sizeof(fetus), "FET-%s-%d", stay->pregnancy + 5, n + 1);
		put(w, "fetus_id", ITEM_FREE, fetus);
	}
	snprintf(order, sizeof(order), "%d", n + 1);
	put(w, "birth_order", ITEM_FREE, order);
	if (discharged && baby->died != 0)
	{
		put_date(w, "baby_death_date", ITEM_END, (int) (baby->died / ONE_DAY));
		put_time(w, "baby_death_time", baby->died);
	}
	put(w, "fetal_presentation", ITEM_CODE, baby->presentation);
	put_number(w, "birth_gestation", (int) (baby->born / ONE_DAY) - (stay->edd - 280));
	put(w, "delivery_method", ITEM_CODE, baby->method);
	put_yes(w, "water_delivery_indicator", baby->water);
	put_site(w, "delivery_site", baby->place);
	put(w, "delivering_professional_id", ITEM_FREE, baby->professional);
	put(w, "birth_setting", ITEM_CODE, baby->place);
	if (baby->live && baby->fed != 0 && (discharged || baby->fed <= when))
	{
		put_date(w, "first_feed_date", 0, (int) (baby->fed / ONE_DAY));
		put_time(w, "first_feed_time", baby->fed);
		put(w, "first_feed_milk", ITEM_CODE, baby->feed);
	}
	if (baby->live)
		put_yes(w, "skin_to_skin_indicator", baby->skin);
	if (discharged && baby->live && baby->died == 0)
	{
		put_date(w, "baby_discharge_date", ITEM_END, (int) (baby->discharged / ONE_DAY));
		put_time(w, "baby_discharge_time", baby->discharged);
	}
	end_record(w);
}

static void
tell_baby_activity(Work *w, const Baby *baby, Stay *stay, int64 when, bool numbered, const Activity *activity,
				   bool blood_spot)
{
	char		id[24];
	char		value[16];

	snprintf(id, sizeof(id), "BA%s-%03d", stay->pregnancy + 5, ++stay->activities);
	begin_baby(w, baby, stay, "baby_activity", when, numbered);
	w->parent = activity->tool != NULL;
	strlcpy(w->local_record, id, sizeof(w->local_record));
	put(w, "baby_activity_id", 0, id);
	put(w, "baby_local_id", 0, baby->lpid);
	put_date(w, "baby_intervention_date", ITEM_MANDATORY, (int) (when / ONE_DAY));
	put_time(w, "baby_intervention_time", when);
	put_staff(w, "care_professional_id", baby->neonatal ? 'N' : 'M');
	put_yes(w, "neonatal_critical_incident_indicator", false);
	if (activity->procedure)
	{
		put(w, "procedure_scheme", ITEM_CODE, "06");
		put(w, "procedure_code", ITEM_FREE, activity->procedure);
	}
	if (activity->observation)
	{
		put(w, "observation_scheme", ITEM_CODE, "03");
		put(w, "observation_code", ITEM_FREE, activity->observation);
		snprintf(value, sizeof(value), "%d", activity->value);
		put(w, "observation_value", ITEM_FREE, value);
		put(w, "observation_unit", ITEM_FREE, activity->unit);
	}
	if (blood_spot)
		put(w, "blood_spot_laboratory", 0, "RP4");
	end_record(w);

	if (activity->tool)
	{
		begin_child(w, stay, "baby_assessment", when, "baby_activity_id", id);
		put(w, "assessment_tool", ITEM_MANDATORY | ITEM_SNOMED, activity->tool);
		snprintf(value, sizeof(value), "%d", activity->score);
		put(w, "assessment_score", ITEM_FREE, value);
		end_record(w);
	}
}

static void
baby_observed(Work *w, const Baby *baby, Stay *stay, int64 when, bool numbered, const char *code, int value,
			  const char *unit)
{
	Activity	activity = {0};

	activity.observation = code;
	activity.value = value;
	activity.unit = unit;
	tell_baby_activity(w, baby, stay, when, numbered, &activity, false);
}

static void
baby_done(Work *w, const Baby *baby, Stay *stay, int64 when, bool numbered, const char *procedure)
{
	Activity	activity = {0};

	activity.procedure = procedure;
	tell_baby_activity(w, baby, stay, when, numbered, &activity, false);
}

static void
baby_blood_spot(Work *w, const Baby *baby, Stay *stay, int64 when, bool numbered, const char *procedure)
{
	Activity	activity = {0};

	activity.procedure = procedure;
	tell_baby_activity(w, baby, stay, when, numbered, &activity, true);
}

static void
baby_scored(Work *w, const Baby *baby, Stay *stay, int64 when, bool numbered, const char *procedure,
			const char *tool, int score)
{
	Activity	activity = {0};

	activity.procedure = procedure;
	activity.tool = tool;
	activity.score = score;
	tell_baby_activity(w, baby, stay, when, numbered, &activity, false);
}

static void
tell_neonatal(Work *w, const Journey *j, const Baby *baby, Stay *stay, bool numbered, int64 told)
{
	static const char *const diagnoses[] = {"P59.9", "P70.4", "P36.9", "P22.1", "P92.9", "P21.9"};
	bool		preterm = j->gestation < 252;
	const char *diagnosis = preterm ? "P22.0" : diagnoses[random_below(&w->random, lengthof(diagnoses))];
	char		code[16];

	begin_baby(w, baby, stay, "neonatal_admission", larger(baby->admitted, told), numbered);
	put(w, "baby_local_id", 0, baby->lpid);
	put_date(w, "neonatal_transfer_date", ITEM_MANDATORY, (int) (baby->admitted / ONE_DAY));
	put_time(w, "neonatal_transfer_time", baby->admitted);
	site(w->plan, stay->organisation, code, sizeof(code));
	put(w, "neonatal_unit_site", 0, code);
	put_yes(w, "neonatal_critical_care_indicator", baby->critical);
	end_record(w);

	begin_baby(w, baby, stay, "neonatal_provisional_diagnosis", larger(baby->admitted, told) + 30, numbered);
	put(w, "baby_local_id", 0, baby->lpid);
	put(w, "diagnosis_scheme", ITEM_MANDATORY | ITEM_CODE, "02");
	put(w, "provisional_diagnosis_code", ITEM_MANDATORY | ITEM_FREE, diagnosis);
	put_date(w, "provisional_diagnosis_date", 0, (int) ((baby->admitted + 30) / ONE_DAY));
	end_record(w);

	for (int i = 0; i < (preterm ? 2 : 1); i++)
	{
		begin_baby(w, baby, stay, "neonatal_diagnosis", larger(baby->discharged - 30, told + 31), numbered);
		put(w, "baby_local_id", 0, baby->lpid);
		put(w, "diagnosis_scheme", ITEM_MANDATORY | ITEM_CODE, "02");
		put(w, "diagnosis_code", ITEM_MANDATORY | ITEM_FREE, i == 0 ? diagnosis : "P07.3");
		put_date(w, "diagnosis_date", 0, (int) (baby->admitted / ONE_DAY));
		end_record(w);
	}
}

static void
tell_birth(Work *w, Journey *j, Stay *stay)
{
	Random	   *r = &w->random;
	char		labour[32];
	int64		last = j->babies[j->nbabies - 1].born;
	int64		told = last + 12;

	snprintf(labour, sizeof(labour), "LAB-%s", stay->pregnancy + 5);
	tell_labour(w, j, stay, labour, told, false);

	if (strchr("45", j->onset[0]))
		tell_labour_activity(w, stay, labour, told + 1, "236958009", NULL, NULL, 0, NULL);
	if (strchr("35", j->onset[0]))
		tell_labour_activity(w, stay, labour, told + 1, "408818004", NULL, NULL, 0, NULL);
	if (j->epidural)
		tell_labour_activity(w, stay, labour, told + 2, "18946005", NULL, NULL, 0, NULL);
	tell_labour_activity(w, stay, labour, told + 3, delivery_procedure(j), NULL, NULL, 0, NULL);
	if (j->episiotomy)
		tell_labour_activity(w, stay, labour, told + 4, "85548006", NULL, NULL, 0, NULL);
	if (j->tear)
		tell_labour_activity(w, stay, labour, told + 5, NULL, j->tear, NULL, 0, NULL);
	tell_labour_activity(w, stay, labour, told + 6, NULL, NULL, "719051004", j->loss_ml, "ml");

	for (int i = 0; i < j->nbabies; i++)
	{
		Baby	   *baby = &j->babies[i];
		bool		numbered = baby->nhs[0] != '\0' && !baby->number_later;
		int64		when;

		any_staff(w, stay->organisation, strchr("2346789", baby->method[0]) ? 'O' : 'M',
				  baby->professional, sizeof(baby->professional));
		tell_baby(w, j, stay, i, labour, told + 8, false);
		baby_observed(w, baby, stay, told + 10, numbered, "364589006", baby->weight, "g");
		if (!baby->live)
			continue;
		baby_scored(w, baby, stay, told + 11, numbered, "386216000", "169895004", baby->apgar1);
		baby_scored(w, baby, stay, told + 12, numbered, "386216000", "169909004", baby->apgar5);
		if (baby->neonatal)
			tell_neonatal(w, j, baby, stay, numbered, told + 13);
		if (baby->died != 0)
		{
			tell_baby(w, j, stay, i, labour, baby->died + 120, true);
			continue;
		}
		when = baby->born + random_between(r, 360, 2800);
		baby_done(w, baby, stay, when, numbered, random_chance(r, 8500) ? "446077009" : "413083006");
		baby_done(w, baby, stay, baby->born + random_between(r, 360, 3900), numbered, "988351000000107");
		tell_baby(w, j, stay, i, labour, larger(baby->discharged, told + 60), true);
		baby_blood_spot(w, baby, stay, larger(larger(baby->born + (int64) 5 * ONE_DAY, baby->discharged + 90), told + 90), true, "61594008");
	}

	if (j->admitted != 0)
	{
		tell_labour(w, j, stay, labour, larger(j->discharged, told + 30), true);
		tell_spell(w, j, stay, j->admitted, larger(j->discharged, told + 30), j->babies[0].method[0] == '7' ? "11" : "31",
				   "1", true);
	}
	if (strchr("34", j->babies[0].method[0]) && j->loss_ml >= 1500)
		tell_diagnosis(w, j, stay, told + 30, "O72.1", false);
}

/* The contacts that fall to this stay, by the usual schedule. */
static void
tell_contacts(Work *w, const Journey *j, Stay *stay)
{
	static const int first_time[] = {16, 25, 28, 31, 34, 36, 38, 40, 41};
	static const int again[] = {16, 28, 34, 36, 38, 41};
	const int  *schedule = j->live_births == 0 ? first_time : again;
	int			n = j->live_births == 0 ? lengthof(first_time) : lengthof(again);
	static const int after[] = {1, 5, 10};

	tell_contact(w, j, stay, stay->booked, (int) (stay->booked / ONE_DAY - j->lmp) / 7, true);
	for (int i = 0; i < n; i++)
	{
		int			day = spine_journey_weekday(j->lmp + schedule[i] * 7 + random_between(&w->random, -3, 3));
		int64		when = (int64) day * ONE_DAY + 5 * random_between(&w->random, 9 * 12, 16 * 12);

		if (when > stay->booked + 10 * ONE_DAY && when < smaller(stay->until, j->end - 2 * ONE_DAY))
			tell_contact(w, j, stay, when, schedule[i], false);
	}
	if (j->nbabies > 0 && !stay->transferred_out)
	{
		for (int i = 0; i < lengthof(after); i++)
		{
			int			day = (int) (j->end / ONE_DAY) + after[i];
			int64		when = (int64) day * ONE_DAY + 5 * random_between(&w->random, 9 * 12, 16 * 12);

			if (when > j->discharged && when < j->care_ends)
				tell_contact(w, j, stay, when, -1, false);
		}
	}
}

static void
tell_stay(Work *w, Journey *j, Stay *stay)
{
	Random	   *r = &w->random;
	int64		limit = smaller(stay->until, j->end - 3 * ONE_DAY);
	int64		when;
	int			day;

	tell_mother(w, j, stay);
	tell_circumstances(w, j, stay);
	tell_booking(w, j, stay, stay->booked + 5, false);
	tell_care_plan(w, j, stay, stay->booked + 10, "05");
	tell_measurements(w, j, stay);
	tell_history(w, j, stay);

	begin_pregnancy(w, j, stay, "pregnancy_assessment", stay->booked + 25);
	put(w, "assessment_tool", ITEM_MANDATORY | ITEM_SNOMED, "836521000000107");
	put(w, "assessment_score", ITEM_FREE, j->mental_health ? "4" : "1");
	put_date(w, "assessment_date", ITEM_MANDATORY, (int) (stay->booked / ONE_DAY));
	end_record(w);

	if (!stay->transferred_in)
	{
		/* at 11 to 14 weeks, or soon after a late booking */
		day = j->lmp + random_between(r, 80, 96);
		day = spine_journey_weekday(larger(day, stay->booked / ONE_DAY + random_between(r, 1, 9)));
		when = (int64) day * ONE_DAY + 5 * random_between(r, 9 * 12, 16 * 12);
		if (when < limit && day - j->lmp <= 195 && random_chance(r, 9850))
			tell_scan(w, j, stay, when);
	}

	tell_contacts(w, j, stay);

	when = (int64) (j->lmp + 196) * ONE_DAY + 700;
	if (when > stay->booked + 5 * ONE_DAY && when < limit)
	{
		if (j->diabetes)
			tell_diagnosis(w, j, stay, when, "O24.4", true);
		if (j->anaemia)
			tell_diagnosis(w, j, stay, when + 60, "O99.0", false);
	}
	when = (int64) (j->lmp + 220 + random_below(r, 40)) * ONE_DAY + 640;
	if (when > stay->booked + 5 * ONE_DAY && when < limit)
	{
		if (j->hypertension)
			tell_diagnosis(w, j, stay, when, random_chance(r, 7000) ? "O13.X" : "O14.9", true);
		if (random_chance(r, j->hypertension ? 4500 : 700) && when + 5 * ONE_DAY < limit)
			tell_spell(w, j, stay, when + 120, when + 120 + random_between(r, ONE_DAY, 4 * ONE_DAY), "31", "1", false);
		if (random_chance(r, 6000))
			tell_care_plan(w, j, stay, when + 60, "06");
	}

	if (stay->transferred_out)
	{
		tell_booking(w, j, stay, stay->until, true);
		return;
	}
	if (j->lost)
	{
		tell_diagnosis(w, j, stay, j->end, j->lost, false);
		if (random_chance(r, 4000))
			tell_spell(w, j, stay, j->end - 120, j->end + random_between(r, 300, 1500), "21", "1", false);
	}
	else
		tell_birth(w, j, stay);
	tell_booking(w, j, stay, j->care_ends, true);
}

void
spine_tell_pregnancy(const GeneratePlan *plan, int pregnancy, GeneratedRecords *out)
{
	Work		w;
	Journey		j;
	int			first = out->n;

	w.plan = plan;
	w.out = out;
	random_start(&w.random, plan->seed, pregnancy, STREAM_JOURNEY);
	random_start(&w.faults, plan->seed, pregnancy, STREAM_FAULTS);
	spine_journey_draw(&j, &w.random, plan, pregnancy);
	for (int i = 0; i < j.nstays; i++)
		tell_stay(&w, &j, &j.stays[i]);
	spine_record_order(out, first);
}

void
spine_tell_organisation(const GeneratePlan *plan, int organisation, GeneratedRecords *out)
{
	static const char *const findings[] = {"R45.8", "Z72.0", "F41.9", "Z63.0"};
	Work		w;
	int			first = out->n;
	int64		now = (int64) plan->start * ONE_DAY;
	const char *code = plan->organisations[organisation];
	char		id[48];
	GeneratePlan sound = *plan;
	int			year,
				month,
				day;

	w.out = out;
	random_start(&w.random, plan->seed, organisation, STREAM_ORGANISATION);
	random_start(&w.faults, plan->seed, organisation, STREAM_ORGANISATION_FAULTS);

	/*
	 * never spoilt, as it would take the document along; of whole months, until the last of these
	 * women is discharged
	 */
	sound.fault_rate = 0;
	w.plan = &sound;
	j2date(plan->start + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	begin_record(&w, "header", organisation, now);
	snprintf(w.local_record, sizeof(w.local_record), "HDR-%s-1", code);
	put(&w, "data_set_version", ITEM_MANDATORY, "2.0");
	put(&w, "provider_organisation", ITEM_MANDATORY, code);
	put(&w, "submitting_organisation", ITEM_MANDATORY, code);
	put(&w, "primary_system", 0, "spine generator");
	put_date(&w, "period_start_date", ITEM_MANDATORY | ITEM_BEGIN, date2j(year, month, 1) - POSTGRES_EPOCH_JDATE);
	put_date(&w, "period_end_date", ITEM_MANDATORY | ITEM_END, date2j(year + 2, month, 1) - POSTGRES_EPOCH_JDATE - 1);
	put_date(&w, "created_date", ITEM_MANDATORY, plan->start);
	put_time(&w, "created_time", 1);
	w.items[w.nitems - 1].flags |= ITEM_MANDATORY;
	end_record(&w);
	w.plan = plan;

	for (int i = 0; i < lengthof(staff); i++)
	{
		for (int n = 1; n <= staff[i].n; n++)
		{
			char		registration[16];
			int			number = random_below(&w.random, 20 * 10 * 10000);

			snprintf(id, sizeof(id), "%s%c%02d", code, staff[i].letter, n);
			snprintf(registration, sizeof(registration), "%02d%c%04dE", 80 + number / 100000,
					 'A' + number / 10000 % 10, number % 10000);
			begin_record(&w, "staff", organisation, now + 1);
			w.parent = true;
			strlcpy(w.local_record, id, sizeof(w.local_record));
			put(&w, "care_professional_id", 0, id);
			put(&w, "registration_body", ITEM_CODE, staff[i].body);
			put(&w, "registration_number", ITEM_FREE, registration);
			put(&w, "staff_group", 0, staff[i].staff_group);
			put(&w, "occupation_code", 0, staff[i].occupation);
			put(&w, "job_role_code", 0, staff[i].job);
			end_record(&w);
		}
	}

	for (int i = 0; i < 12; i++)
	{
		int64		when = now + (int64) random_below(&w.random, 360) * ONE_DAY + 600;
		char		score[8];

		begin_record(&w, "anonymous_assessment", organisation, when);
		snprintf(w.local_record, sizeof(w.local_record), "ANON-%s-A%d", code, i + 1);
		put_date(&w, "assessment_date", ITEM_MANDATORY, (int) (when / ONE_DAY));
		put(&w, "assessment_tool", ITEM_MANDATORY | ITEM_SNOMED, "450320001");
		snprintf(score, sizeof(score), "%d", random_below(&w.random, 20));
		put(&w, "assessment_score", ITEM_FREE, score);
		put(&w, "location_type", ITEM_CODE, "B01");
		put(&w, "commissioner_organisation", 0, "W2U3Z");
		end_record(&w);

		begin_record(&w, "anonymous_finding", organisation, when + 5);
		snprintf(w.local_record, sizeof(w.local_record), "ANON-%s-F%d", code, i + 1);
		put_date(&w, "intervention_date", ITEM_MANDATORY, (int) (when / ONE_DAY));
		put(&w, "finding_scheme", ITEM_MANDATORY | ITEM_CODE, "01");
		put(&w, "finding_code", ITEM_MANDATORY | ITEM_FREE, findings[random_below(&w.random, lengthof(findings))]);
		put(&w, "commissioner_organisation", 0, "W2U3Z");
		end_record(&w);
	}
	spine_record_order(out, first);
}
