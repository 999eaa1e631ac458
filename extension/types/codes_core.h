/*
 * codes_core.h
 *		Whether a text is written as a code of a scheme, without PostgreSQL.
 *
 * The shape alone: that a code of this shape exists is for the scheme's own
 * tables to say. text need not end with a NUL; blanks around it are no part of
 * any code, but of a SNOMED CT expression.
 */
#ifndef SPINE_CODES_CORE_H
#define SPINE_CODES_CORE_H

#include <stdbool.h>
#include <stddef.h>

/* ICD-10 as the NHS writes it: O80, O72.1, O721, O13.X, M54.50, with A or D of an asterisk or dagger after it. */
extern bool spine_codes_icd10(const char *text, size_t length);

/* OPCS-4: R172 or R17.2. */
extern bool spine_codes_opcs4(const char *text, size_t length);

/* Read version 2 or 3: five characters, of which the last may be points, and perhaps two of a term. */
extern bool spine_codes_read(const char *text, size_t length);

/* The SNOMED CT identifier of a concept. */
extern bool spine_codes_snomed_concept(const char *text, size_t length);

/* A concept, several joined with +, or such with a refinement: C+C:A=V,A=V. */
extern bool spine_codes_snomed_expression(const char *text, size_t length);

/* LS1 4HR, with one blank or more; GIR 0AA. */
extern bool spine_codes_postcode(const char *text, size_t length);

/* Reads a decimal number of at most 15 digits, without exponent; *value only if it is one. */
extern bool spine_codes_number(const char *text, size_t length, double *value);

#endif							/* SPINE_CODES_CORE_H */
