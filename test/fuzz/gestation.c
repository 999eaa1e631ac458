/*
 * gestation.c
 *		Fuzzes extension/types/gestation_core.c.
 */
#include "fuzz.h"
#include "types/gestation_core.h"

static void
reads_again(int32_t days)
{
	char		text[SPINE_GESTATION_TEXT];
	char		expected[16];
	int32_t		again = -1;
	size_t		length;

	must(days >= 0 && days <= SPINE_GESTATION_LARGEST);
	must(spine_gestation_check(days) == SPINE_GESTATION_OK);
	length = spine_gestation_print(days, text);
	must(length == strlen(text) && length < SPINE_GESTATION_TEXT);
	snprintf(expected, sizeof(expected), "%d+%d", days / 7, days % 7);
	must(strcmp(text, expected) == 0);
	must(spine_gestation_parse(text, length, &again) == SPINE_GESTATION_OK && again == days);

	again = -1;
	length = (size_t) snprintf(expected, sizeof(expected), "%d", days);
	must(spine_gestation_parse(expected, length, &again) == SPINE_GESTATION_OK && again == days);
	again = -1;
	length = (size_t) snprintf(expected, sizeof(expected), "%dw%dD", days / 7, days % 7);
	must(spine_gestation_parse(expected, length, &again) == SPINE_GESTATION_OK && again == days);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int32_t		days = -1;
	int64_t		number = number_of(data, size);
	spine_gestation_error error = spine_gestation_parse((const char *) data, size, &days);

	must(strlen(spine_gestation_error_text(error)) > 0);
	if (error == SPINE_GESTATION_OK)
		reads_again(days);
	else
		must(days == -1);

	must((spine_gestation_check(number) == SPINE_GESTATION_OK) == (number >= 0 && number <= SPINE_GESTATION_LARGEST));
	reads_again((int32_t) ((uint64_t) number % (SPINE_GESTATION_LARGEST + 1)));
	return 0;
}
