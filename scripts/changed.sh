#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# changed.sh gcc|sparse ARGUMENT...: compile, or check, the sources that CHANGED names, or
# all if it is empty. Of the other sources of a kernel, which are compiled because a header
# has changed, gcc only checks the syntax, and leaves an object without content.

tool=$1
shift
for source; do :; done
source=${source#*/src/}
case " ${CHANGED:-} " in
'  ' | *" $source "*) exec "$tool" "$@" ;;
esac
case $source in
fs/*.c | kernel/*.c | lib/*.c | mm/*.c) ;;
*) exec "$tool" "$@" ;;
esac
[ "$tool" = gcc ] || exit 0

previous=
object=
assembly=1
for argument; do
	[ "$previous" != -o ] || object=$argument
	[ "$argument" != -c ] || assembly=
	previous=$argument
done
[ -z "$assembly" ] || exec gcc "$@"
gcc "$@" -fsyntax-only && exec gcc -c -x c -o "$object" /dev/null
