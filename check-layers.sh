#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check-layers.sh [TREE]: the rules of the house that a compiler does not check.  Prints each
# violation; exit status 1 when there is one.
#
#   * A quoted include names DIRECTORY/FILE.h, and layers.txt allows that directory (* is any, and
#     any way of writing it).
#   * The first include of a .c file is config.h.
#   * No source file is longer than 800 lines.
#   * Every file has an SPDX line.
set -eu -o pipefail
cd "${1:-.}"

[ -s layers.txt ] || { echo "$PWD/layers.txt: missing or empty"; exit 1; }

bad=$(mktemp)
trap 'rm -f "$bad"' EXIT

# The directories in layers.txt are the ones to look at; later ones need not exist yet.
mapfile -t layers < <(grep -v '^#' layers.txt)
dirs=()
for layer in "${layers[@]}"; do
	if [ -d "${layer%%:*}" ]; then
		dirs+=("${layer%%:*}")
	fi
done
[ "${#dirs[@]}" -gt 0 ] || { echo "$PWD: none of the directories of layers.txt is here"; exit 1; }

sources() {
	find "$@" -name '*.[ch]' -type f | sort
}

for layer in "${layers[@]}"; do
	dir=${layer%%:*}
	[ -d "$dir" ] || continue
	sources "$dir" | while read -r file; do
		awk -v dir="$dir" -v allowed=" $dir ${layer#*:} " '
			/^[ \t]*#[ \t]*include[ \t]*["<]/ {
				split($0, part, /["<>]/)
				name = part[2]
				if (name == "config.h") {
					seen = 1
					next
				}
				if (FILENAME ~ /\.c$/ && !seen++)
					print FILENAME ":" FNR ": the first include must be config.h"
			}
			/^[ \t]*#[ \t]*include[ \t]*"/ {
				slash = index(name, "/")
				if (allowed ~ / \* /)
					next
				if (!slash)
					print FILENAME ":" FNR ": \"" name "\" must be written DIRECTORY/" name
				else if (!index(allowed, " " substr(name, 1, slash - 1) " "))
					print FILENAME ":" FNR ": " dir "/ must not include \"" name "\""
			}
			END { if (FNR > 800) print FILENAME ": " FNR " lines; the limit is 800" }
		' "$file"
	done
done >"$bad"

# Golden and fuzz data are bytes, not sources.
find "${dirs[@]}" ./*.* -type f \( -name '*.[ch]' -o -name '*.sh' -o -name '*.sh.in' \
	-o -name '*.am' -o -name '*.mk' -o -name '*.ac' \) | sort | while read -r file; do
	head -n 5 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file: no SPDX line"
done >>"$bad"

cat "$bad"
test ! -s "$bad"
