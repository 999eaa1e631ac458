/*
 * ods_code.c
 *		Fuzzes extension/types/ods_code_core.c.
 */
#include "fuzz.h"
#include "types/ods_code_core.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char		code[SPINE_ODS_CODE_MAX + 1];
	char		again[SPINE_ODS_CODE_MAX + 1];
	size_t		length = 0;
	size_t		again_length = 0;
	spine_ods_code_error error = spine_ods_code_parse((const char *) data, size, code, &length);

	must(strlen(spine_ods_code_error_text(error)) > 0);
	if (error != SPINE_ODS_CODE_OK)
		return 0;
	must(length == strlen(code));
	must(length >= SPINE_ODS_CODE_MIN && length <= SPINE_ODS_CODE_MAX);
	for (size_t i = 0; i < length; i++)
		must((code[i] >= '0' && code[i] <= '9') || (code[i] >= 'A' && code[i] <= 'Z'));
	must(spine_ods_code_parse(code, length, again, &again_length) == SPINE_ODS_CODE_OK);
	must(again_length == length && memcmp(again, code, length + 1) == 0);

	/* the letters and digits of the text, in their order, and no others */
	for (size_t i = 0, at = 0; i < size; i++)
	{
		uint8_t		c = data[i];

		if (c == ' ' || (c >= '\t' && c <= '\r'))
			continue;
		if (c >= 'a' && c <= 'z')
			c = (uint8_t) (c - 'a' + 'A');
		must(at < length && code[at] == (char) c);
		at++;
	}
	return 0;
}
