# spine: build with PGXS. The version stands in spine.control alone.
EXTENSION   = spine
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" spine.control)
MODULE_big  = spine

OBJS = \
	extension/spine.o \
	extension/guc.o \
	extension/types/nhs_number.o extension/types/nhs_number_core.o \
	extension/types/snomed_code.o extension/types/snomed_code_core.o \
	extension/types/ods_code.o extension/types/ods_code_core.o \
	extension/types/gestation.o extension/types/gestation_core.o \
	extension/types/codes.o extension/types/codes_core.o \
	extension/governance/identity.o \
	extension/governance/caller.o \
	extension/governance/openings.o \
	extension/governance/own_plan.o \
	extension/governance/groups.o \
	extension/governance/rules.o \
	extension/governance/visible.o \
	extension/governance/items.o \
	extension/governance/person.o \
	extension/governance/open_record.o \
	extension/governance/audience.o \
	extension/governance/csv.o \
	extension/governance/utility.o \
	extension/governance/audit.o \
	extension/governance/chain.o \
	extension/governance/export.o \
	extension/intake/definition.o \
	extension/intake/organisations.o \
	extension/intake/value.o \
	extension/intake/finding.o \
	extension/intake/target.o \
	extension/intake/check.o \
	extension/intake/document.o \
	extension/intake/plans.o \
	extension/intake/subtransaction.o \
	extension/intake/batch.o \
	extension/intake/submission.o \
	extension/intake/door.o \
	extension/intake/door_view.o \
	extension/intake/door_submit.o \
	extension/intake/door_inbox.o \
	extension/exchange/doorbell.o \
	extension/exchange/deliver.o \
	extension/exchange/conninfo.o \
	extension/exchange/pseudonym.o \
	extension/exchange/digest.o \
	extension/exchange/sign.o \
	extension/watch/watch.o \
	extension/exchange/rows.o \
	extension/generate/generate.o extension/generate/journey.o extension/generate/marginals.o \
	extension/generate/record.o extension/generate/tell.o \
	bgworkers/worker.o \
	bgworkers/launcher.o \
	bgworkers/courier.o \
	bgworkers/auditor.o

# The extension script, joined in this order. Each file may rely on those before it.
SQL_FILES = \
	sql/header.sql \
	policies/roles.sql \
	sql/types.sql \
	sql/codes.sql \
	sql/core.sql \
	sql/organisations.sql \
	sql/publish.sql \
	sql/versions.sql \
	sql/agreements.sql \
	sql/audience.sql \
	sql/audit.sql \
	sql/reading.sql \
	sql/relationships.sql \
	sql/explain.sql \
	sql/intake.sql \
	sql/examples.sql \
	sql/specification.sql \
	sql/exchange.sql \
	sql/hubs.sql \
	sql/reconcile.sql \
	sql/witness.sql \
	sql/health.sql \
	sql/generate.sql \
	sql/create_store.sql

# The store script: ordinary objects, run once by spine.create_store().
STORE_FILES = \
	sql/store/organisations.sql \
	sql/store/datasets.sql \
	sql/store/identity.sql \
	sql/store/intake.sql \
	sql/store/governance.sql \
	sql/store/audit.sql \
	sql/store/relationships.sql \
	sql/store/exchange.sql \
	sql/store/reconcile.sql \
	sql/store/officer.sql \
	sql/store/health.sql \
	policies/store_policies.sql \
	policies/store_grants.sql

DATASET_FILES = $(wildcard datasets/*.json)

DATA_built = spine--$(EXTVERSION).sql
EXTRA_CLEAN = spine--*.sql

PG_CONFIG ?= pg_config
# Declared exceptions to -Wextra: PostgreSQL's fmgr and hook signatures leave parameters unused.
PG_CPPFLAGS = -I$(CURDIR)/extension -isystem $(shell $(PG_CONFIG) --includedir-server) -isystem $(shell $(PG_CONFIG) --includedir)
PG_CFLAGS   = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare -Wno-cast-function-type
SHLIB_LINK  = -lpq -lcrypto -Wl,--version-script=$(CURDIR)/extension/exports.map
# no bitcode: it doubles the build, and nothing here is inlined into queries
override with_llvm := no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# any header may matter to any object; the build is short
$(OBJS): $(wildcard extension/*.h extension/*/*.h bgworkers/*.h)

spine--$(EXTVERSION).sql: $(SQL_FILES) $(STORE_FILES) $(DATASET_FILES) sql/assemble.sh Makefile spine.control
	sh sql/assemble.sh '$(EXTVERSION)' '$(SQL_FILES)' '$(STORE_FILES)' '$(DATASET_FILES)' > $@.new
	mv $@.new $@
