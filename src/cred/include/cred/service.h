#pragma once
/* The services that are known by name: which variables their programs read, where the value goes.
 */
#include <cred/set.h>

#define SERVICE_ENV_MAX    4
#define SERVICE_HOSTS_MAX  10
#define SERVICE_PLACES_MAX 3

struct cred_service {
	const char *name, *about;
	const char *env[SERVICE_ENV_MAX]; /* ends with NULL unless full */
	const char *shape;                /* of the placeholder */
	struct {
		const char *hosts[SERVICE_HOSTS_MAX];
		const char *header, *format;
	} places[SERVICE_PLACES_MAX]; /* ends with a NULL header unless full */
};

/* NULL: none of that name. */
const struct cred_service *cred_service_find(const char *name);
/* NULL behind the last. */
const struct cred_service *cred_service_at(size_t i);
/* Its places, added to a credential. */
void cred_service_places(const struct cred_service *s, struct cred *c);
