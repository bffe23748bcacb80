#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <base/str.h>
#include <supervisor/resolve.h>

static int
parse_host(const char *text, size_t n, char out[256])
{
	if (n > 0 && text[n - 1] == '.')
		n--;
	if (n == 0 || n > 253)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (!isalnum(c) && c != '-' && c != '.' && c != '_')
			return -EINVAL;
		out[i] = (char)tolower(c);
	}
	out[n] = '\0';
	return 0;
}

static int
parse_address(char *text, uint16_t fallback, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	char *rest = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	uint64_t port = fallback;

	memset(ret, 0, sizeof(*ret));
	if (text[0] == '[') {
		if (rest == NULL)
			return -EINVAL;
		*rest++ = '\0';
		text++;
		v6->sin6_family = AF_INET6;
		if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
			return -EINVAL;
	} else {
		if (rest != NULL)
			*rest = '\0';
		v4->sin_family = AF_INET;
		if (inet_pton(AF_INET, text, &v4->sin_addr) != 1)
			return -EINVAL;
		if (rest != NULL)
			*rest = ':';
	}
	if (rest != NULL && *rest != '\0' &&
		(*rest != ':' || str_to_u64(rest + 1, 1, 65535, &port) < 0))
		return -EINVAL;
	if (ret->ss_family == AF_INET6)
		v6->sin6_port = htons((uint16_t)port);
	else
		v4->sin_port = htons((uint16_t)port);
	return 0;
}

int
resolve_parse(const char *text, struct resolve_entry *ret, struct err *e)
{
	struct resolve_entry r = {0};
	char copy[512], *port, *address;
	uint64_t v = 0;

	if (snprintf(copy, sizeof(copy), "%s", text) < (int)sizeof(copy) &&
		(port = strchr(copy, ':')) != NULL && (address = strchr(port + 1, ':')) != NULL) {
		*port++ = '\0';
		*address++ = '\0';
		if (parse_host(copy, strlen(copy), r.host) == 0 &&
			str_to_u64(port, 1, 65535, &v) == 0 &&
			parse_address(address, (uint16_t)v, &r.to) == 0) {
			r.port = (uint16_t)v;
			*ret = r;
			return 0;
		}
	}
	char shown[64];

	str_escape(text, strlen(text), shown, sizeof(shown));
	return err_set(e, EINVAL,
		"--resolve '%s': write HOST:PORT:ADDRESS or HOST:PORT:ADDRESS:PORT, IPv6 in "
		"brackets",
		shown);
}
