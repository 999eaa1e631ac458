/*
 * nhs_number.c
 *		Fuzzes extension/types/nhs_number_core.c.
 *
 * libFuzzer hands over a buffer of exactly size bytes, so that the sanitizer
 * sees a read past its end.
 */
#include "fuzz.h"
#include "types/nhs_number_core.h"

/* The check digit by the book: weights 10 to 2, 11 less the remainder. */
static int
check_digit_of(int64_t first_nine)
{
	int			sum = 0;

	for (int weight = 2; weight <= 10; weight++, first_nine /= 10)
		sum += (int) (first_nine % 10) * weight;
	return 11 - sum % 11 == 11 ? 0 : 11 - sum % 11;
}

/* Reads the printed number again, bare and grouped. */
static void
reads_again(int64_t value)
{
	char		text[SPINE_NHS_NUMBER_DIGITS + 1];
	char		grouped[SPINE_NHS_NUMBER_DIGITS + 3];
	int64_t		again = -1;

	must(value >= 0 && value <= SPINE_NHS_NUMBER_LARGEST);
	must(value % 10 == check_digit_of(value / 10));
	must(spine_nhs_number_check_digit(value / 10) == value % 10);
	must(spine_nhs_number_check(value) == SPINE_NHS_NUMBER_OK);

	spine_nhs_number_print(value, text);
	must(strlen(text) == SPINE_NHS_NUMBER_DIGITS);
	must(strtoll(text, NULL, 10) == value);
	must(spine_nhs_number_parse(text, SPINE_NHS_NUMBER_DIGITS, &again) == SPINE_NHS_NUMBER_OK);
	must(again == value);

	for (const char *separator = " -"; *separator != '\0'; separator++)
	{
		snprintf(grouped, sizeof(grouped), "%.3s%c%.3s%c%.4s", text, *separator, text + 3, *separator, text + 6);
		again = -1;
		must(spine_nhs_number_parse(grouped, sizeof(grouped) - 1, &again) == SPINE_NHS_NUMBER_OK);
		must(again == value);
	}
	must(spine_nhs_number_issuer_text(spine_nhs_number_issued_by(value)) != NULL);
	if (spine_nhs_number_is_repeated(value))
	{
		for (int i = 0; i < SPINE_NHS_NUMBER_DIGITS; i++)
			must(text[i] == text[SPINE_NHS_NUMBER_DIGITS - 1 - i]);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t		value = -1;
	int64_t		number = number_of(data, size);
	spine_nhs_number_error error = spine_nhs_number_parse((const char *) data, size, &value);

	must(strlen(spine_nhs_number_error_text(error)) > 0);
	if (error == SPINE_NHS_NUMBER_OK)
		reads_again(value);
	else
		must(value == -1);

	if (spine_nhs_number_check(number) == SPINE_NHS_NUMBER_OK)
		reads_again(number);
	number = (int64_t) ((uint64_t) number % 1000000000);
	must(spine_nhs_number_check_digit(number) == (check_digit_of(number) == 10 ? -1 : check_digit_of(number)));
	if (spine_nhs_number_check_digit(number) >= 0)
		reads_again(number * 10 + spine_nhs_number_check_digit(number));
	return 0;
}
