# Turns kits/*.yaml into a table of C strings: awk -f embed.awk FILE...
BEGIN {
	print "static const struct {\n\tconst char *name, *text;\n} builtin_kits[] = {"
}
FNR == 1 {
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.yaml$/, "", name)
	printf "%s\t{\"%s\",\n", (NR > 1 ? "\t\t\"\"},\n" : ""), name
}
{
	gsub(/\\/, "&&")
	gsub(/"/, "\\\\&")
	printf "\t\t\"%s\\n\"\n", $0
}
END {
	print "\t\t\"\"},\n};"
}
