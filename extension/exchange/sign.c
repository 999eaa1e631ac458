/*
 * sign.c
 *		Signatures of receipts: Ed25519, by OpenSSL. A receipt has to show to
 *		anybody who has given it, so a secret that two nodes share would not do.
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "compat.h"

#define KEY_LENGTH			32
#define SIGNATURE_LENGTH	64

PG_FUNCTION_INFO_V1(spine_make_key_pair);
PG_FUNCTION_INFO_V1(spine_sign);
PG_FUNCTION_INFO_V1(spine_signature_holds);

static bytea *
bytes_make(const unsigned char *data, size_t length)
{
	bytea	   *bytes = palloc(VARHDRSZ + length);

	SET_VARSIZE(bytes, VARHDRSZ + length);
	memcpy(VARDATA(bytes), data, length);
	return bytes;
}

static void
sign_failed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the cryptographic library does not make or check Ed25519 signatures")));
}

/* spine.make_key_pair(OUT public_key bytea, OUT private_key bytea) */
Datum
spine_make_key_pair(PG_FUNCTION_ARGS)
{
	unsigned char public_key[KEY_LENGTH];
	unsigned char private_key[KEY_LENGTH];
	size_t		public_length = KEY_LENGTH;
	size_t		private_length = KEY_LENGTH;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, NULL);
	EVP_PKEY   *key = NULL;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	bool		made;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	made = context != NULL &&
		EVP_PKEY_keygen_init(context) == 1 &&
		EVP_PKEY_keygen(context, &key) == 1 &&
		EVP_PKEY_get_raw_public_key(key, public_key, &public_length) == 1 &&
		EVP_PKEY_get_raw_private_key(key, private_key, &private_length) == 1;
	EVP_PKEY_free(key);
	EVP_PKEY_CTX_free(context);
	if (!made)
		sign_failed();
	values[0] = PointerGetDatum(bytes_make(public_key, public_length));
	values[1] = PointerGetDatum(bytes_make(private_key, private_length));
	OPENSSL_cleanse(private_key, KEY_LENGTH);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* spine.sign(statement text, private_key bytea) returns bytea */
Datum
spine_sign(PG_FUNCTION_ARGS)
{
	text	   *statement = PG_GETARG_TEXT_PP(0);
	bytea	   *private_key = PG_GETARG_BYTEA_PP(1);
	unsigned char signature[SIGNATURE_LENGTH];
	size_t		length = SIGNATURE_LENGTH;
	EVP_PKEY   *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL,
												   (const unsigned char *) VARDATA_ANY(private_key),
												   VARSIZE_ANY_EXHDR(private_key));
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool		made;

	made = key != NULL && context != NULL &&
		EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestSign(context, signature, &length,
					   (const unsigned char *) VARDATA_ANY(statement), VARSIZE_ANY_EXHDR(statement)) == 1;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	if (!made)
		sign_failed();
	PG_RETURN_BYTEA_P(bytes_make(signature, length));
}

/* spine.signature_holds(statement text, signature bytea, public_key bytea) returns boolean */
Datum
spine_signature_holds(PG_FUNCTION_ARGS)
{
	text	   *statement = PG_GETARG_TEXT_PP(0);
	bytea	   *signature = PG_GETARG_BYTEA_PP(1);
	bytea	   *public_key = PG_GETARG_BYTEA_PP(2);
	EVP_PKEY   *key;
	EVP_MD_CTX *context;
	bool		holds;

	if (VARSIZE_ANY_EXHDR(public_key) != KEY_LENGTH || VARSIZE_ANY_EXHDR(signature) != SIGNATURE_LENGTH)
		PG_RETURN_BOOL(false);
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
									  (const unsigned char *) VARDATA_ANY(public_key), KEY_LENGTH);
	context = EVP_MD_CTX_new();
	holds = key != NULL && context != NULL &&
		EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestVerify(context, (const unsigned char *) VARDATA_ANY(signature), SIGNATURE_LENGTH,
						 (const unsigned char *) VARDATA_ANY(statement), VARSIZE_ANY_EXHDR(statement)) == 1;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	PG_RETURN_BOOL(holds);
}
