/* Published ports: what the user's words mean, the guest's table of listeners, the messages. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <listeners.h>
#include <state/port.h>
#include <wire/control.h>
#include <wire/session.h>
#include <wire/tlv.h>

static void
test_words(void **state)
{
	static const struct {
		const char *word, *first, *second;
	} cases[] = {
		{"3000", "127.0.0.1:0:3000/tcp4", NULL},
		{"8080:3000", "127.0.0.1:8080:3000/tcp4", NULL},
		{"8080:3000/tcp4", "127.0.0.1:8080:3000/tcp4", NULL},
		{"8080:3000/tcp6", "[::1]:8080:3000/tcp6", NULL},
		{"8080:3000/tcp", "127.0.0.1:8080:3000/tcp4", "[::1]:8080:3000/tcp6"},
		{"0.0.0.0:8080:3000", "0.0.0.0:8080:3000/tcp4", NULL},
		{"127.0.0.1:8080:3000/tcp", "127.0.0.1:8080:3000/tcp4", NULL},
		{"[::1]:8080:3000", "[::1]:8080:3000/tcp6", NULL},
		{"::1:8080:3000/tcp6", "[::1]:8080:3000/tcp6", NULL},
		{"0:65535", "127.0.0.1:0:65535/tcp4", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[PORT_TEXT_MAX];
		struct port p[2], again[2];
		struct err e = {0};
		size_t n = 0;

		assert_int_equal(port_parse(cases[i].word, p, &n, &e), 0);
		assert_int_equal(n, cases[i].second != NULL ? 2 : 1);
		for (size_t k = 0; k < n; k++) {
			port_format(&p[k], text);
			assert_string_equal(text, k == 0 ? cases[i].first : cases[i].second);
			assert_int_equal(port_parse(text, again, &n, &e), 0);
			assert_int_equal(n, 1);
			assert_true(port_equal(&p[k], &again[0]));
			n = cases[i].second != NULL ? 2 : 1;
		}
	}
}

static void
test_wrong_words(void **state)
{
	static const char *const words[] = {"", ":", "0", "65536", "80:", ":80", "a", "1:2:3", "-1",
		"+1", " 80", "80 ", "1:0", "65536:1", "80/", "80/sctp", "80/udp", "127.0.0.1:80",
		"localhost:1:2", "1.2.3:1:2", "[::1:1:2", "0.0.0.0:1:2/tcp6", "[::1]:1:2/tcp4",
		"4294967376:80", "1:4294967376"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct port p[2];
		struct err e = {0};
		size_t n = 0;

		if (port_parse(words[i], p, &n, &e) != -EINVAL || e.msg[0] == '\0')
			fail_msg("'%s' was taken", words[i]);
	}
}

static void
test_list(void **state)
{
	CLEAN_STRV struct strv list = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(port_add_word(&list, "8080:3000/tcp", &e), 0);
	assert_int_equal(port_add_word(&list, "8080:3000", &e), 0); /* there already */
	assert_int_equal(port_add_word(&list, "9090:3000", &e), 0);
	assert_int_equal(port_add_word(&list, "9091:4000", &e), 0);
	assert_int_equal(list.n, 4);
	assert_int_equal(port_remove_word(&list, "8080:3000/tcp6", &e), 1);
	assert_int_equal(port_remove_word(&list, "8080:3001", &e), 0);
	assert_int_equal(port_remove_word(&list, "3000", &e), 2);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.v[0], "127.0.0.1:9091:4000/tcp4");
	for (int i = 1; i < 64; i++)
		assert_int_equal(port_add_word(&list,
					 (char[]){'1', (char)('0' + i / 10), (char)('0' + i % 10),
						 ':', '8', '0', 0},
					 &e),
			0);
	assert_int_equal(port_add_word(&list, "200:80", &e), -ENOSPC);
}

static void
test_listeners(void **state)
{
	static const char table[] =
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n"
		"   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 0 0 1\n"
		"   1: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 0 0 1\n"
		"   2: 020012C6:0051 00000000:0000 0A 00000000:00000000 00:00000000 0 0 1\n"
		"   3: 0100007F:0052 0100007F:0050 01 00000000:00000000 00:00000000 0 0 1\n"
		"garbage\n"
		"   4: 00000000000000000000000001000000:0053 0000:0000 0A 0\n"
		"   5: 0000000000000000FFFF00000100007F:0054 0000:0000 0A 0\n"
		"   6: 00000000000000000000000000000000:0055 0000:0000 0A 0\n"
		"   7: 000080FE00000000000000000100000A:0056 0000:0000 0A 0\n"
		"   8: 0100007F";
	static const unsigned want[] = {0x50, 0xbb8, 0x53, 0x54, 0x55};
	unsigned char seen[8192] = {0};
	size_t n = 0;

	(void)state;
	listeners_parse(table, seen);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		if (!(seen[want[i] / 8] & 1u << want[i] % 8))
			fail_msg("port %u is missing", want[i]);
	for (unsigned port = 0; port < 65536; port++)
		n += (seen[port / 8] & 1u << port % 8) != 0;
	assert_int_equal(n, ARRAY_LEN(want));
}

static void
test_messages(void **state)
{
	struct control_status st = {.state = CONTROL_RUNNING}, got = {0};
	struct control_ports ports = {0}, back = {0};
	CLEAN_BUF struct buf b = BUF_INIT, c = BUF_INIT, l = BUF_INIT;
	struct tlv_reader rd;
	uint16_t port = 0;

	(void)state;
	control_status_add_port(&st, "asked", "listening", "");
	control_status_add_port(&st, "other", "", "taken");
	control_status_encode(&st, &b);
	assert_int_equal(control_status_decode(b.data, b.len, &got), 0);
	assert_int_equal(got.nports, 2);
	assert_string_equal(got.ports[0].listening, "listening");
	assert_string_equal(got.ports[1].error, "taken");
	for (size_t n = 0; n < b.len; n++) { /* cut anywhere: no more than was said */
		struct control_status cut = {0};

		if (control_status_decode(b.data, n, &cut) == 0)
			control_status_release(&cut);
	}
	strv_add(&ports.publish, "1:2");
	strv_add(&ports.unpublish, "3");
	control_ports_encode(&ports, &c);
	assert_int_equal(control_ports_decode(c.data, c.len, &back), 0);
	assert_string_equal(back.publish.v[0], "1:2");
	assert_string_equal(back.unpublish.v[0], "3");
	assert_int_equal(control_ports_decode(c.data, c.len - 1, &back), -EBADMSG);
	session_listener_encode(443, &l);
	tlv_reader_init(&rd, l.data, l.len);
	assert_int_equal(session_listener_next(&rd, &port), 1);
	assert_int_equal(port, 443);
	assert_int_equal(session_listener_next(&rd, &port), 0);
	control_status_release(&st);
	control_status_release(&got);
	control_ports_release(&ports);
	control_ports_release(&back);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_wrong_words),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_listeners),
		cmocka_unit_test(test_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
