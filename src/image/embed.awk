# Turns a text into a C string: awk -v name=NAME -f embed.awk FILE
BEGIN {
	printf "static const char %s[] =\n", name
}
{
	gsub(/\\/, "&&")
	gsub(/"/, "\\\\&")
	printf "\t\"%s\\n\"\n", $0
}
END {
	print "\t\"\";"
}
