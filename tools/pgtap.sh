#!/bin/sh
# pgtap.sh FILE: runs one pgTAP file in a database of its own, cloned from spine_template, on
# the cluster that the PG* variables name.
set -eu
name=test_$(basename "$1" .sql)
psql="$SPINE_BINDIR/psql -X -q -A -t -P pager=off -v ON_ERROR_STOP=1"
# the template must be free of sessions for the moment of the copy: two files at once take turns
exec 9> "$SPINE_RUN/template.lock"
flock 9
$psql -d postgres -c "CREATE DATABASE $name TEMPLATE spine_template"
exec 9>&-
rc=0
PGCLIENTENCODING=UTF8 $psql -d "$name" -v ods_file="$SPINE_ODS_FILE" -v source="$SPINE_SOURCE" -f "$1" || rc=$?
$psql -d postgres -c "DROP DATABASE IF EXISTS $name WITH (FORCE)"
exit "$rc"
