#include <string.h>

#include <cred/service.h>

static const struct cred_service services[] = {
	{"anthropic", "Anthropic's API", {"ANTHROPIC_API_KEY"},
		/* The end is what Claude Code remembers of a key that its user has approved. */
		"sk-ant-api03-{rand}-paddock-placeholder",
		{{{"api.anthropic.com", "mcp-proxy.anthropic.com"}, "x-api-key", "%s"}}},
	{"openai", "OpenAI's API", {"OPENAI_API_KEY"}, "sk-proj-",
		{{{"api.openai.com", "files.openai.com"}, "authorization", "Bearer %s"}}},
	{"google", "Gemini's API",
		{"GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"}, "AIza",
		{{{"generativelanguage.googleapis.com", "aiplatform.googleapis.com"},
			"x-goog-api-key", "%s"}}},
	{"github", "GitHub: REST, GraphQL, git over HTTPS", {"GH_TOKEN", "GITHUB_TOKEN"}, "ghp_",
		{{{"api.github.com", "uploads.github.com", "raw.githubusercontent.com"},
			 "authorization", "Bearer %s"},
			{{"github.com", "gist.github.com"}, "authorization",
				"Basic x-access-token:%s"}}},
	{"copilot", "GitHub Copilot", {"COPILOT_GITHUB_TOKEN"}, "github_pat_",
		{{{"api.github.com", "copilot.github.com", "api.githubcopilot.com",
			  "*.githubcopilot.com"},
			"authorization", "Bearer %s"}}},
	{"groq", "Groq", {"GROQ_API_KEY"}, "gsk_",
		{{{"api.groq.com"}, "authorization", "Bearer %s"}}},
	{"mistral", "Mistral", {"MISTRAL_API_KEY"}, "mistral-",
		{{{"api.mistral.ai", "codestral.mistral.ai"}, "authorization", "Bearer %s"}}},
	{"openrouter", "OpenRouter", {"OPENROUTER_API_KEY"}, "sk-or-v1-",
		{{{"openrouter.ai"}, "authorization", "Bearer %s"}}},
	{"xai", "xAI", {"XAI_API_KEY"}, "xai-", {{{"api.x.ai"}, "authorization", "Bearer %s"}}},
	{"npm", "the npm registry", {"NPM_TOKEN"}, "npm_",
		{{{"*.npmjs.org"}, "authorization", "Bearer %s"}}},
	/* Registries that know tokens alone are asked for one with this, at the server of tokens.
	 */
	{"docker", "Docker Hub, as USER:TOKEN", {"DOCKER_AUTH"}, "dckr_pat_",
		{{{"auth.docker.io"}, "authorization", "Basic %s"}}},
};

const struct cred_service *
cred_service_at(size_t i)
{
	return i < sizeof(services) / sizeof(services[0]) ? &services[i] : NULL;
}

const struct cred_service *
cred_service_find(const char *name)
{
	const struct cred_service *s;

	for (size_t i = 0; (s = cred_service_at(i)) != NULL; i++)
		if (strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

void
cred_service_places(const struct cred_service *s, struct cred *c)
{
	for (size_t i = 0; i < SERVICE_PLACES_MAX && s->places[i].header != NULL; i++) {
		CLEAN_STRV struct strv hosts = {0};

		for (size_t k = 0; k < SERVICE_HOSTS_MAX && s->places[i].hosts[k] != NULL; k++)
			strv_add(&hosts, s->places[i].hosts[k]);
		cred_add_place(c, &hosts, s->places[i].header, s->places[i].format);
	}
}
