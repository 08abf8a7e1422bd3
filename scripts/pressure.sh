#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# pressure.sh: write more than fits into memory, on the base and on the patched
# kernel, and print the measurements as a Markdown table. The workload is that of
# pressure_test, whose tests print what they measured and fail if data is lost.
# QEMU measures time in instructions, or wall-clock time with ICOUNT=0.

[ "${ARCH:-}" = um ] || export ICOUNT=${ICOUNT:-1}
. "$(dirname "$0")/common.sh"

# Make rows from lines "measured memcg.v1_write.TEST ms N writes N ... oom N".
table_rows()
{
	sed -n 's/.*:measured //p' "$2" | awk -v kernel="$1" '{
		split($1, test, ".")
		for (i = 2; i < NF; i += 2) value[$i] = $(i + 1)
		sub(/_/, ", ", test[2])
		printf "| %s, %s | %s | %d ms | %d | %.0f KiB | %d | %d | %d |\n",
			test[1], test[2], kernel, value["ms"], value["writes"],
			value["writes"] ? 4 * value["pages"] / value["writes"] : 0,
			value["scan"], value["steal"], value["oom"] }'
}

# measure KERNEL: run the tests on this kernel, and append the rows.
measure()
{
	local status=0

	EXPECT=${1#patched} KERNEL=$1 TESTS='pressure_test:*' "$TOP/scripts/kselftest.sh" || status=$?
	[ ! -e "$O/results/latest/test.log" ] ||
		table_rows "$1" "$O/results/latest/test.log" >>"$ROWS"
	[ "$status" = 0 ] || die "$status" "the measurement failed on the $1 kernel"
}

check_variables
mkdir -p "$O"
ROWS=$O/pressure.rows
: >"$ROWS"
measure base
measure patched
cat <<'TABLE'
| where, how | kernel | time | WRITEs | average | pages scanned | reclaimed | OOM kills |
|---|---|---|---|---|---|---|---|
TABLE
sort -s -t '|' -k 2,2 "$ROWS"
