/*
 * snomed_code.c
 *		Fuzzes extension/types/snomed_code_core.c.
 */
#include "fuzz.h"
#include "types/snomed_code_core.h"

static void
reads_again(int64_t value)
{
	char		text[SPINE_SNOMED_CODE_MAX + 1];
	char		other[SPINE_SNOMED_CODE_MAX + 1];
	int64_t		again = -1;
	size_t		length = spine_snomed_code_print(value, text);
	size_t		at = (size_t) (value / 1000) % length;

	must(length == strlen(text));
	must(length >= SPINE_SNOMED_CODE_MIN && length <= SPINE_SNOMED_CODE_MAX);
	must(strtoll(text, NULL, 10) == value);
	must(spine_snomed_code_check(value) == SPINE_SNOMED_CODE_OK);
	must(spine_snomed_code_check_digit(value / 10) == value % 10);
	must(spine_snomed_code_parse(text, length, &again) == SPINE_SNOMED_CODE_OK);
	must(again == value);
	must(strcmp(spine_snomed_code_kind_text(spine_snomed_code_names(value)), "unknown") != 0);

	/* Verhoeff finds every change of one digit and every exchange of two neighbours */
	memcpy(other, text, length + 1);
	for (char digit = '0'; digit <= '9'; digit++)
	{
		other[at] = digit;
		must((spine_snomed_code_parse(other, length, &again) == SPINE_SNOMED_CODE_OK) == (digit == text[at]));
	}
	other[at] = text[at];
	if (at > 0 && text[at] != text[at - 1])
	{
		other[at] = text[at - 1];
		other[at - 1] = text[at];
		must(spine_snomed_code_parse(other, length, &again) != SPINE_SNOMED_CODE_OK);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t		value = -1;
	int64_t		number = number_of(data, size);
	spine_snomed_code_error error = spine_snomed_code_parse((const char *) data, size, &value);

	must(strlen(spine_snomed_code_error_text(error)) > 0);
	if (error == SPINE_SNOMED_CODE_OK)
		reads_again(value);
	else
		must(value == -1);

	if (spine_snomed_code_check(number) == SPINE_SNOMED_CODE_OK)
		reads_again(number);
	/* digits, a partition in use and a check digit make a code */
	number = (int64_t) ((uint64_t) number % 999999999999000) + 1000;
	number = number * 100 + number % 2 * 10 + number % 3;
	must(spine_snomed_code_check_digit(number) >= 0);
	reads_again(number * 10 + spine_snomed_code_check_digit(number));
	return 0;
}
