# SPDX-License-Identifier: MIT
# The man page and the completions, as built or as shipped, are those of this program: neither says
# more or less than its tables of commands and options.
. "$TEST_ENV"

# built NAME: the file in the build tree, or else the one that came with the tarball.
built() {
	local dir
	for dir in "$top_builddir" "$top_srcdir"; do
		if [ -e "$dir/docs/$1" ]; then
			echo "$dir/docs/$1"
			return
		fi
	done
	fail "there is no docs/$1"
}

ublk-img help --bash-completion >completion
cmp completion "$(built completions/ublk-img)"

[ -e "$top_builddir/docs/ublk-img.1" ] || [ -e "$top_srcdir/docs/ublk-img.1" ] ||
	skip "built without pod2man (Debian: perl), so there is no man page"

# Formatters differ in layout and fonts, so compare what matters: commands and options.  Each macro
# and font change goes, and what is left are words.
words_of_man() {
	sed -e '/^\.\\"/d' -e '1,/^\.TH/d' -e 's/\\-/-/g' -e 's/\\f\(.\|([A-Z]*\)//g' -e 's/\\&//g' \
		"$1"
}
words_of_man "$(built ublk-img.1)" >man.txt

commands_of_program() {
	ublk-img help --json | jq -r '.commands[].name' | sort
}
commands_of_man() {
	sed -n 's/^\.SS "*\([a-z -]*\)"*$/\1/p' man.txt | sort
}
commands_of_program >commands.program
[ "$(wc -l <commands.program)" -ge 8 ] || fail "help --json lists few commands"
commands_of_man >commands.man
diff commands.program commands.man

# An item per option and command, in the order of the tables.
ublk-img help --pod | sed -n 's/^=item .*B<--\([a-z-]*\)>.*/\1/p' >options.program
[ "$(wc -l <options.program)" -ge 8 ] || fail "help --pod lists few options"
sed -n 's/^\.IP "\(.*\)" 4$/\1/p' man.txt | sed -n 's/.*--\([a-z-]*\).*/\1/p' >options.man
diff options.program options.man

# And --help of each command has the same options as the page has in its section.
while read -r command; do
	ublk-img help "$command" | sed -nE 's/^ +(-[a-zA-Z], )?--([a-z-]+).*/\2/p' | sort -u >help.options
	ublk-img help --json | jq -r --arg c "$command" \
		'.commands[] | select(.name == $c) | .options[].name' | sort -u >json.options
	diff help.options json.options || fail "help $command and help --json differ"
done <commands.program
