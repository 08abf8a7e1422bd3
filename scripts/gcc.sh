#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# gcc.sh ARGUMENT...: gcc, through ccache where that is installed. In its depend
# mode ccache need not run the preprocessor first, which was a third of the time of
# a build from nothing, but then does not see .incbin: assembly is left out.

for source; do :; done
case $source in
*.S) exec gcc "$@" ;;
esac
command -v ccache >/dev/null || exec gcc "$@"
CCACHE_DEPEND=1 exec ccache gcc "$@"
