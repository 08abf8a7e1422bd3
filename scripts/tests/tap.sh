# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts' own tests share: TAP for prove. Source it first.

set -uo pipefail

export LC_ALL=C
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HERE=$SCRIPTS/tests
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
tap_count=0
export SCRIPTS HERE SCRATCH

# ok STATUS TITLE: one result.
ok()
{
	tap_count=$((tap_count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tap_count - $2"
	else
		echo "not ok $tap_count - $2"
	fi
}

# is GOT WANTED TITLE
is()
{
	if [ "$1" = "$2" ]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		diff -U0 --label wanted --label got <(printf '%s\n' "$2") <(printf '%s\n' "$1") | sed 's/^/# /'
	fi
}

# says FILE REGEX TITLE: a line of FILE matches.
says()
{
	if grep -qE -- "$2" "$1"; then
		ok 0 "$3"
	else
		ok 1 "$3"
		{
			echo "wanted a line that matches: $2"
			echo "in the last lines of $1:"
			tail -n 20 "$1"
		} | sed 's/^/# /'
	fi
}

end_tests()
{
	echo "1..$tap_count"
}
