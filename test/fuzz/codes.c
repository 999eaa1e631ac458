/*
 * codes.c
 *		Fuzzes extension/types/codes_core.c.
 */
#include "fuzz.h"
#include "types/codes_core.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	double		value = -0.5;
	bool		icd10 = spine_codes_icd10(text, size);
	bool		opcs4 = spine_codes_opcs4(text, size);
	bool		read = spine_codes_read(text, size);
	bool		concept = spine_codes_snomed_concept(text, size);

	must(!icd10 || (size >= 3 && size <= 7));
	must(!opcs4 || size == 4 || size == 5);
	must(!read || size == 5 || size == 7);
	/* a letter leads ICD-10 and OPCS-4, a digit SNOMED CT */
	must(!(concept && (icd10 || opcs4)));
	must(!concept || spine_codes_snomed_expression(text, size));
	must(!spine_codes_postcode(text, size) || memchr(text, ' ', size) != NULL);

	if (spine_codes_number(text, size, &value))
	{
		char		copy[32];
		double		again;

		must(size > 0 && size <= 17);
		memcpy(copy, text, size);
		copy[size] = '\0';
		again = strtod(copy, NULL);
		must(value == again);
	}
	else
		must(value == -0.5);
	return 0;
}
