# SPDX-License-Identifier: MIT
# What docs/format.md and docs/architecture.md say in figures and names is what the source says; and
# each of these comparisons notices a difference.
# shellcheck disable=SC2016 # backquotes are Markdown here
. "$TEST_ENV"

# Each function below compares one thing in the tree $1 and prints what is wrong, a line each.

# The debug switches of image/rules.h and the markers in the format are the same.
compare_rules() {
	sed -n 's/^\tX(\([a-z_]*\)).*/\1/p' "$1/image/rules.h" | sort >rules.code
	grep -o '\[m:[a-z_]*\]' "$1/docs/format.md" | sed 's/\[m:\(.*\)\]/\1/' | sort -u >rules.doc
	[ -s rules.code ] || echo "no rules found in image/rules.h"
	comm -23 rules.code rules.doc | sed 's/.*/rule &: not in docs\/format.md/'
	comm -13 rules.code rules.doc | sed 's/.*/rule &: not in image\/rules.h/'
}

# Members of the disk structs, as STRUCT MEMBER.
members() {
	awk '
		/^struct disk_[a-z_]* \{/ { name = $2; next }
		/^\}/ { name = "" }
		name != "" && /;/ {
			sub(/;.*/, "")
			sub(/\[.*/, "")
			print name, $NF
		}
	' "$1/image/format.h" | sort
}

# The tables of members: STRUCT SIZE, then STRUCT MEMBER OFFSET SIZE.
tables() {
	awk '
		match($0, /`struct disk_[a-z_]*`, [0-9]+ bytes/) {
			split(substr($0, RSTART, RLENGTH), part, /[`, ]+/)
			name = part[3]
			print name, part[4]
		}
		name != "" && /^\| [0-9]+ \| [0-9]+ \| `[a-z0-9_]+` \|/ {
			split($0, part, /[|` ]+/)
			print name, part[4], part[2], part[3]
			rows = 1
		}
		rows && !/^\|/ { name = ""; rows = 0 }
	' "$1/docs/format.md" | sort
}

compare_layout() {
	print-format layout | sort >layout.code
	tables "$1" >layout.doc
	members "$1" >members.code
	awk 'NF == 4 { print $1, $2 }' layout.code | sort >members.printed
	comm -23 members.code members.printed | sed 's/$/: print-format.c does not know this member/'
	comm -23 layout.code layout.doc | sed 's/$/: so it is, but not in docs\/format.md/'
	comm -13 layout.code layout.doc | sed 's/$/: only in docs\/format.md/'
}

compare_constants() {
	print-format constants | sort >constants.code
	sed -n 's/^| `\([A-Z0-9_]*\)` | \([0-9]*\) |$/\1 \2/p' "$1/docs/format.md" | sort >constants.doc
	comm -23 constants.code constants.doc | sed 's/$/: so it is, but not in docs\/format.md/'
	comm -13 constants.code constants.doc | sed 's/$/: only in docs\/format.md/'
}

# The literal blocks of the section with the examples, one after the other.
compare_examples() {
	print-format examples >examples.code
	awk '
		/^## / { here = /Worked examples/ }
		/^```/ { literal = !literal; next }
		here && literal
	' "$1/docs/format.md" >examples.doc
	{ diff examples.code examples.doc || :; } | sed -n 's/^[<>]/example &/p'
}

# Files that a page names are there; a program may be named without its .c, and a test as make
# check TESTS= wants it.  NAME stands for anything.
compare_files() {
	local page file
	for page in "$1"/docs/*.md; do
		grep -oE '`[^` ]+`' "$page" | tr -d '`' |
			grep -E '^(common|codecs|image|engine|cli|tests|docs|\.ci)/[A-Za-z0-9_./-]*[a-z0-9]$' |
			grep -vE 'NAME|\.(a|log)$' | sort -u | while read -r file; do
			[ -e "$1/$file" ] || [ -e "$1/$file.c" ] || [ -e "$1/tests/$file" ] ||
				echo "${page##*/}: $file is not there"
		done
	done
}

# Functions that the architecture names are there.
compare_functions() {
	local name
	grep -oE '`[a-z_]+\(\)`' "$1/docs/architecture.md" | tr -d '`()' | sort -u |
		while read -r name; do
			grep -qE "\\b$name\\(" "$1"/{image,engine,bridge,cli}/*.[ch] ||
				echo "architecture.md: there is no function $name()"
		done
}

# Rules and sections of the format that comments refer to are in it, and each rule is there once.
compare_references() {
	local ref
	grep -oE '^ *\* \*\*[A-Z][0-9]+[a-z]?\.\*\*' "$1/docs/format.md" | tr -d ' *.' | sort >named
	uniq -d named | sed 's/$/: named twice in docs\/format.md/'
	grep -rohE '(\(|rules? |, )[RPAJWVIHFGLD][0-9]+[a-z]?\b' --include='*.[ch]' \
		"$1/image" "$1/engine" | grep -oE '[A-Z][0-9]+[a-z]?$' | sort -u >referred
	[ -s referred ] || echo "no references to rules found"
	comm -13 named referred | sed 's/$/: referred to in comments, not in docs\/format.md/'
	grep -rohE '[Ss]ections? [0-9]+(\.[0-9]+)*' --include='*.[ch]' "$1/image" "$1/engine" |
		grep -oE '[0-9.]+$' | sort -u | while read -r ref; do
		grep -qE "^##+ ${ref//./\\.}\.? " "$1/docs/format.md" || echo "no section $ref"
	done
}

compare() {
	compare_rules "$1"
	compare_layout "$1"
	compare_constants "$1"
	compare_examples "$1"
	compare_files "$1"
	compare_functions "$1"
	compare_references "$1"
}

PATH=$top_builddir/tests/cli:$PATH
compare "$top_srcdir" >found
[ ! -s found ] || fail "$(cat found)"

# tree: what is compared, to spoil.
tree() {
	rm -rf tree
	mkdir tree
	cp -r "$top_srcdir"/{docs,image,engine,bridge,cli} tree/
	ln -s "$top_srcdir"/{common,codecs,tests,.ci} tree/
	chmod -R u+w tree/docs tree/image tree/engine
}

# caught TEXT: the comparison says TEXT about the tree.
caught() {
	compare tree >found
	grep -qF -- "$1" found || fail "nobody says \"$1\", but: $(cat found)"
}

# spoil FILE SED-COMMAND: the command changes something.
spoil() {
	tree
	sed -i "$2" "tree/$1"
	! cmp -s "tree/$1" "$top_srcdir/$1" || fail "no change: $1: $2"
}

tree
compare tree >found
[ ! -s found ] || fail "a copy of the tree: $(cat found)"

spoil docs/format.md 's/ *\[m:no_drain\]//'
caught 'rule no_drain: not in docs/format.md'
spoil image/rules.h '/X(open_no_sync)/d'
caught 'rule open_no_sync: not in image/rules.h'
spoil docs/format.md 's/^| 72 | 1 | `sector_shift`/| 73 | 1 | `sector_shift`/'
caught 'disk_super sector_shift 72 1: so it is'
spoil docs/format.md '/^| 160 | 4 | `journal_chain`/d'
caught 'disk_super journal_chain 160 4: so it is'
spoil docs/format.md 's/`struct disk_snapshot`, 256 bytes/`struct disk_snapshot`, 255 bytes/'
caught 'disk_snapshot 255: only in'
spoil image/format.h 's/^\tuint8_t session\[16\];/\tuint8_t session[8]; uint8_t\n\tmore[8];/'
caught 'disk_super more: print-format.c does not know'
spoil docs/format.md 's/^| `RANGE_MAX` | 4096 |/| `RANGE_MAX` | 4095 |/'
caught 'RANGE_MAX 4095: only in'
spoil docs/format.md 's/b699e9a7/b699e9a8/'
caught 'example > S(1, 0, 5)'
spoil docs/architecture.md 's,`image/checkpoint.c`,`image/chekpoint.c`,'
caught 'architecture.md: image/chekpoint.c is not there'
spoil docs/architecture.md 's/`apply_map()`/`aply_map()`/'
caught 'there is no function aply_map()'
spoil docs/format.md 's/^\* \*\*R4\.\*\*/* **R5.**/'
caught 'R4: referred to in comments'
spoil docs/format.md 's/^### 4\.1 /### 4.3 /'
caught 'no section 4.1'
