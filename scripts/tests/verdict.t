#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# verdict.py on recorded runs. Each folder of logs/ holds what a run left (test.log,
# dmesg.txt) and the file "case", which says how verdict.py is called, the status
# it must exit with and what it must say.

. "$(dirname "$0")/tap.sh"

verdict()
{
	"$SCRIPTS/verdict.py" "$@" --kernel "$KUNIT_TREE" >"$SCRATCH/out" 2>&1
}

for folder in "$HERE"/logs/*/; do
	name=$(basename "$folder")
	arguments=() status=unset says=unset
	# shellcheck source=/dev/null
	. "$folder/case"
	rm -rf "$SCRATCH/run"
	cp -r "$folder" "$SCRATCH/run"
	verdict "$SCRATCH/run" --splats "$SCRIPTS/splats" "${arguments[@]}"
	is $? "$status" "$name: exit status"
	says "$SCRATCH/out" "$says" "$name: message"
	says "$SCRATCH/out" '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$name: counts"
	python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); sys.exit(r["status"] != int(sys.argv[2]))' \
		"$SCRATCH/run/results.json" "$status"
	ok $? "$name: results.json has the status"
	python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$SCRATCH/run/junit.xml"
	ok $? "$name: junit.xml is XML"
done

# A test that may fail does, and another one passes.
rm -rf "$SCRATCH/run"
cp -r "$HERE/logs/expected-failure" "$SCRATCH/run"
printf 'base\tmay-fail\t%s\n' sync_file_range_waits_for_held_write no_temporary_pages_are_used \
	plain_read_completes >"$SCRATCH/expected"
verdict "$SCRATCH/run" --splats "$SCRIPTS/splats" --expected "$SCRATCH/expected" --condition base
is $? 0 "may-fail: exit status"
says "$SCRATCH/out" 'failed, as listed: .*no_temporary_pages_are_used' "may-fail: message"

# A pattern file that is missing or empty would let every splat pass.
: >"$SCRATCH/empty"
for file in "$SCRATCH/empty" "$SCRATCH/missing"; do
	verdict "$SCRATCH/run" --splats "$file"
	is $? 69 "pattern file $(basename "$file"): exit status"
done

# Each pattern is a regular expression and matches what it stands for.
while read -r line; do
	printf '%s\n' "$line" >"$SCRATCH/run/dmesg.txt"
	verdict "$SCRATCH/run" --splats "$SCRIPTS/splats"
	is $? 255 "splat: $line"
done <"$HERE/splats.examples"
end_tests
