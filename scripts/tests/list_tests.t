#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# list_tests.py on a program that prints the output of the kselftest harness for -l.

. "$(dirname "$0")/tap.sh"

mkdir -p "$SCRATCH/fuse_wb"
echo fuse_wb:some_test >"$SCRATCH/kselftest-list.txt"
cat >"$SCRATCH/fuse_wb/some_test" <<'PROGRAM'
#!/bin/sh
fixture()
{
	printf '%-20s %-25s %s\n' "$@" >&2
}
fixture '# FIXTURE' VARIANT TEST
fixture plain '' first_fact
fixture '' '' second_fact
printf -- '-%.0s' $(seq 80) >&2; echo >&2
fixture with_a_very_long_fixture_name one_variant first_fact
fixture '' another_variant_with_a_long_name ''
exit 4
PROGRAM
chmod +x "$SCRATCH/fuse_wb/some_test"

list()
{
	"$SCRIPTS/list_tests.py" "$SCRATCH" "$1" 2>"$SCRATCH/err" | sed 's/^some_test //' | tr '\n' ' '
}

long=with_a_very_long_fixture_name
is "$(list '')" "plain.first_fact plain.second_fact $long.one_variant.first_fact $long.another_variant_with_a_long_name.first_fact " "all tests, each fixture's in all its variants"
is "$(list 'second_*')" "plain.second_fact " "a glob of the last part"
is "$(list 'plain.*')" "plain.first_fact plain.second_fact " "a glob of the whole name"
is "$(list 'some_test:plain.first_fact')" "plain.first_fact " "a name with its program"
is "$(list 'second_fact *.one_variant.*')" "plain.second_fact $long.one_variant.first_fact " "two globs"
is "$(list '!plain.* !*.one_variant.*')" "$long.another_variant_with_a_long_name.first_fact " "all but some"
is "$(list 'plain.* !second_*')" "plain.first_fact " "some of a glob left out"
"$SCRIPTS/list_tests.py" "$SCRATCH" nothing >"$SCRATCH/out" 2>"$SCRATCH/err"
is $? 2 "a glob that matches nothing is wrong usage"
says "$SCRATCH/err" "TESTS='nothing' matches no test" "and says so"
end_tests
