#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# verdict.py on recorded runs. Each folder of logs/ has the files of a run (test.log,
# dmesg.txt) and the file "case" with the arguments of verdict.py, its expected exit
# status and its expected output.

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

# One test that may fail fails, and another one passes.
rm -rf "$SCRATCH/run"
cp -r "$HERE/logs/expected-failure" "$SCRATCH/run"
printf 'base\tmay-fail\t%s\n' sync_file_range_waits_for_held_write no_temporary_pages_are_used \
	plain_read_completes >"$SCRATCH/expected"
verdict "$SCRATCH/run" --splats "$SCRIPTS/splats" --expected "$SCRATCH/expected" --condition base
is $? 0 "may-fail: exit status"
says "$SCRATCH/out" 'failed, as listed: .*no_temporary_pages_are_used' "may-fail: message"

# The measured time of each test, and the slowest tests if there are many.
rm -rf "$SCRATCH/run"
mkdir "$SCRATCH/run"
echo booted >"$SCRATCH/run/dmesg.txt"
{
	printf '%s\n' 'TAP version 13' '1..1' '# timeout set to 420' '# selftests: fuse_wb: some_test' \
		'# TAP version 13' '# 1..12'
	for i in $(seq 12); do
		echo "# ok $i one.t$i"
	done
	echo 'ok 1 selftests: fuse_wb: some_test'
} >"$SCRATCH/run/test.log"
for i in $(seq 12); do
	printf '%d.500 some_test:one.t%d\n' "$i" "$i"
done >"$SCRATCH/durations"
sed -i '/:one.t12$/d' "$SCRATCH/durations"
echo '80.250 some_test' >>"$SCRATCH/durations"
verdict "$SCRATCH/run" --splats "$SCRIPTS/splats" --durations "$SCRATCH/durations"
is $? 0 "durations: exit status"
is "$(sed -n '/^The slowest/,/^$/p' "$SCRATCH/out" | sed '/^$/d')" \
	"The slowest of 11 tests, which took 72 s:
$(for i in $(seq 11 -1 2); do printf '    %4d.5 s  some_test:one.t%d\n' "$i" "$i"; done)
Of the programs: some_test 80 s" "durations: the slowest ten"
is "$(tail -n 1 "$SCRATCH/out")" "12 passed, 0 failed, 0 skipped" "durations: the counts are last"
python3 - "$SCRATCH/run/results.json" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
found = {t['name']: t.get('seconds') for t in r['tests']}
sys.exit(found['some_test:one.t3'] != 3.5 or found['some_test:one.t12'] is not None
         or r['programs'] != {'some_test': 80.25})
PY
ok $? "durations: results.json has them, and none of a test without"
for i in 12 1 2 11 $(seq 3 10); do
	echo "some_test:one.t$i"
done >"$SCRATCH/wanted"
verdict "$SCRATCH/run" --splats "$SCRIPTS/splats" --wanted "$SCRATCH/wanted" --in-order
is "$(python3 -c 'import json, sys
print(*("some_test:one.t" + t["name"][15:] for t in json.load(open(sys.argv[1]))["tests"]), sep="\n")' \
	"$SCRATCH/run/results.json")" "$(cat "$SCRATCH/wanted")" "in order: results.json is"
sed -i '2,$s/some_test:one.t[0-9]*$/some_test:other/' "$SCRATCH/durations"
verdict "$SCRATCH/run" --splats "$SCRIPTS/splats" --durations "$SCRATCH/durations"
is "$(grep -c slowest "$SCRATCH/out")" 0 "durations: of few tests none is the slowest"

# A pattern file that is missing or empty would let every splat pass.
: >"$SCRATCH/empty"
for file in "$SCRATCH/empty" "$SCRATCH/missing"; do
	verdict "$SCRATCH/run" --splats "$file"
	is $? 69 "pattern file $(basename "$file"): exit status"
done

# Each pattern is a valid regular expression and matches its example.
while read -r line; do
	printf '%s\n' "$line" >"$SCRATCH/run/dmesg.txt"
	verdict "$SCRATCH/run" --splats "$SCRIPTS/splats"
	is $? 255 "splat: $line"
done <"$HERE/splats.examples"
end_tests
