/*
 * ods_code_core.c
 *		Codes of the Organisation Data Service without PostgreSQL.
 */
#include "ods_code_core.h"

#include "blank.h"

/* The code's character, letters in upper case, or 0 for what no code holds. */
static const char upper[256] = {
	['0'] = '0',['1'] = '1',['2'] = '2',['3'] = '3',['4'] = '4',
	['5'] = '5',['6'] = '6',['7'] = '7',['8'] = '8',['9'] = '9',
	['A'] = 'A',['B'] = 'B',['C'] = 'C',['D'] = 'D',['E'] = 'E',['F'] = 'F',
	['G'] = 'G',['H'] = 'H',['I'] = 'I',['J'] = 'J',['K'] = 'K',['L'] = 'L',
	['M'] = 'M',['N'] = 'N',['O'] = 'O',['P'] = 'P',['Q'] = 'Q',['R'] = 'R',
	['S'] = 'S',['T'] = 'T',['U'] = 'U',['V'] = 'V',['W'] = 'W',['X'] = 'X',
	['Y'] = 'Y',['Z'] = 'Z',
	['a'] = 'A',['b'] = 'B',['c'] = 'C',['d'] = 'D',['e'] = 'E',['f'] = 'F',
	['g'] = 'G',['h'] = 'H',['i'] = 'I',['j'] = 'J',['k'] = 'K',['l'] = 'L',
	['m'] = 'M',['n'] = 'N',['o'] = 'O',['p'] = 'P',['q'] = 'Q',['r'] = 'R',
	['s'] = 'S',['t'] = 'T',['u'] = 'U',['v'] = 'V',['w'] = 'W',['x'] = 'X',
	['y'] = 'Y',['z'] = 'Z'
};

spine_ods_code_error
spine_ods_code_parse(const char *text, size_t length, char out[SPINE_ODS_CODE_MAX + 1], size_t *out_length)
{
	spine_trim(&text, &length);
	if (length == 0)
		return SPINE_ODS_CODE_EMPTY;
	for (size_t i = 0; i < length; i++)
	{
		char		c = upper[(unsigned char) text[i]];

		if (c == '\0')
			return SPINE_ODS_CODE_CHARACTER;
		if (i < SPINE_ODS_CODE_MAX)
			out[i] = c;
	}
	if (length < SPINE_ODS_CODE_MIN || length > SPINE_ODS_CODE_MAX)
		return SPINE_ODS_CODE_LENGTH;
	out[length] = '\0';
	*out_length = length;
	return SPINE_ODS_CODE_OK;
}

const char *
spine_ods_code_error_text(spine_ods_code_error error)
{
	switch (error)
	{
		case SPINE_ODS_CODE_OK:
			return "nothing is wrong with it";
		case SPINE_ODS_CODE_EMPTY:
			return "it is empty";
		case SPINE_ODS_CODE_CHARACTER:
			return "it may hold letters A to Z and digits alone";
		case SPINE_ODS_CODE_LENGTH:
			return "it must have 3 to 9 characters";
	}
	return "it is not valid";
}
