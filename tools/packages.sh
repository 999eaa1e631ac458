# shellcheck shell=sh
#
# packages.sh: is everything there that a command needs? Sourced by ./spine.

# find_postgres: sets PG_CONFIG and SPINE_BINDIR; false when there is no server to build for.
find_postgres() {
	if [ -z "${PG_CONFIG:-}" ]; then
		PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config
		[ -x "$PG_CONFIG" ] || PG_CONFIG=$(command -v pg_config) || PG_CONFIG=
	fi
	[ -x "$(command -v "${PG_CONFIG:-pg_config}")" ] || return 1
	SPINE_BINDIR=$("$PG_CONFIG" --bindir)
	[ -x "$SPINE_BINDIR/initdb" ] && [ -x "$SPINE_BINDIR/postgres" ] &&
		[ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] && [ -f "$("$PG_CONFIG" --pgxs)" ]
}

have() { command -v "$1" > /dev/null 2>&1; }

# packages_missing COMMAND [all]: Debian packages whose content is not there.
packages_missing() {
	major=15
	if find_postgres; then
		major=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
		[ "$major" -ge 15 ] || die "PostgreSQL $major is too old: 15 or later is needed"
		[ -f "$("$PG_CONFIG" --includedir)/libpq-fe.h" ] || echo libpq-dev
	else
		echo "postgresql-$major postgresql-server-dev-$major libpq-dev"
	fi
	# the headers of the signatures; their folder is the compiler's to know
	have cc && echo '#include <openssl/evp.h>' | cc -E -x c - > /dev/null 2>&1 || echo libssl-dev
	have make || echo make
	have cc || echo "gcc libc6-dev"
	have perl || echo perl
	have setpriv || echo util-linux
	if [ "$1" = test ]; then
		have prove && perl -MTAP::Parser -e 1 2> /dev/null || echo perl
		perl -MIPC::Run -e 1 2> /dev/null || echo libipc-run-perl
		find_postgres && [ -f "$("$PG_CONFIG" --sharedir)/extension/pgtap.control" ] || echo "postgresql-$major-pgtap"
	fi
	# without it the check of the layout is skipped
	if [ "$1" = test ] && [ "$(id -u)" -eq 0 ] && have apt-get; then
		have pg_bsd_indent || echo pg-bsd-indent
	fi
	if [ "$1 ${2:-}" = "test all" ]; then
		have clang || echo "clang libclang-rt-dev"
	fi
}

# packages_ensure COMMAND [all]: installs them where it may, else names them and ends.
packages_ensure() {
	if [ -n "${PG_CONFIG:-}" ] && ! find_postgres; then
		die "$PG_CONFIG does not lead to a PostgreSQL with its server and server headers"
	fi
	missing=$(packages_missing "$@" | tr ' ' '\n' | LC_ALL=C sort -u | tr '\n' ' ')
	missing=${missing% }
	if [ -n "$missing" ]; then
		have apt-get || die "missing: $missing (as Debian names them)"
		[ "$(id -u)" -eq 0 ] || die "missing packages; as root: apt-get install $missing"
		packages_install "$missing"
	fi
	find_postgres || die "no PostgreSQL found; name its pg_config in PG_CONFIG"
}

packages_install() {
	say "installing $1"
	log=$(mktemp)
	# A server package that is new here shall not make a cluster of its own: nobody asked for
	# one. The line goes again afterwards; a server that is there already is not touched.
	no_cluster=/etc/postgresql-common/createcluster.d/spine.conf
	if [ -d /usr/lib/postgresql ]; then
		no_cluster=
	else
		mkdir -p "${no_cluster%/*}"
		printf 'create_main_cluster = false\n' > "$no_cluster"
	fi
	failed=
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of packages
	{ apt-get -q -y update && apt-get -q -y --no-install-recommends install $1; } > "$log" 2>&1 < /dev/null || failed=yes
	[ -z "$no_cluster" ] || rm -f "$no_cluster"
	if [ -n "$failed" ]; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die "the packages could not be installed"
	fi
	rm -f "$log"
}
