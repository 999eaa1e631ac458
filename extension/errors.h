/*
 * errors.h
 *		The SQLSTATEs of spine, all in one place. Class SP is spine's own; where
 *		the SQL standard or PostgreSQL has a fitting code, that one is used.
 */
#ifndef SPINE_ERRORS_H
#define SPINE_ERRORS_H

/* SP001 a record breaks a rule whose severity is record or above */
#define ERRCODE_SPINE_RECORD_REJECTED		MAKE_SQLSTATE('S', 'P', '0', '0', '1')
/* SP002 a submission is not a document of the published form */
#define ERRCODE_SPINE_DOCUMENT_MALFORMED	MAKE_SQLSTATE('S', 'P', '0', '0', '2')
/* SP003 no such data set, version or data group is accepted here */
#define ERRCODE_SPINE_UNKNOWN_DATASET		MAKE_SQLSTATE('S', 'P', '0', '0', '3')
/* SP004 a data-set definition has faults */
#define ERRCODE_SPINE_DEFINITION_FAULTY		MAKE_SQLSTATE('S', 'P', '0', '0', '4')
/* SP005 an agreement document has faults, or its life does not allow the step */
#define ERRCODE_SPINE_AGREEMENT_FAULTY		MAKE_SQLSTATE('S', 'P', '0', '0', '5')
/* SP006 no record is open to the caller (absent and not allowed are the same answer) */
#define ERRCODE_SPINE_NO_RECORD				MAKE_SQLSTATE('S', 'P', '0', '0', '6')
/* SP007 a batch from a neighbour is refused: wrong sender, gap, replay */
#define ERRCODE_SPINE_BATCH_REFUSED			MAKE_SQLSTATE('S', 'P', '0', '0', '7')
/* SP008 the node is not set up: no store, no network key, library not preloaded */
#define ERRCODE_SPINE_NOT_SET_UP			MAKE_SQLSTATE('S', 'P', '0', '0', '8')
/* SP009 the access log cannot be written: nothing is opened */
#define ERRCODE_SPINE_NOT_AUDITED			MAKE_SQLSTATE('S', 'P', '0', '0', '9')

#endif							/* SPINE_ERRORS_H */
