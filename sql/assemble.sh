#!/bin/sh
# Joins the pieces of the extension script and writes it to standard output.
#   assemble.sh VERSION 'SQL FILES' 'STORE FILES' 'DATA-SET FILES'
# A line @STORE_SCRIPT@ in an SQL file becomes the store script, and
# @SHIPPED_DATASETS@ the shipped definitions, further VALUES rows, each with a comma before it;
# both stand inside dollar quotes.
set -eu
version=$1 sql_files=$2 store_files=$3 dataset_files=$4

store_script() {
	printf '$spine_store$\n'
	for f in $store_files; do printf -- '-- %s\n' "$f"; cat "$f"; done
	printf '$spine_store$\n'
}

shipped_datasets() {
	for f in $dataset_files; do
		printf '\t, ($spine_json$'
		cat "$f"
		printf '$spine_json$::pg_catalog.jsonb)\n'
	done
}

for f in $sql_files; do
	printf -- '\n-- %s\n\n' "$f"
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		*@STORE_SCRIPT@*) store_script ;;
		*@SHIPPED_DATASETS@*) shipped_datasets ;;
		*) printf '%s\n' "$line" ;;
		esac
	done < "$f" | sed "s/@VERSION@/$version/g"
done
