#include "agent/backoff.h"

uint32_t agent_backoff_ms(unsigned failures, uint32_t random)
{
    uint32_t delay = AGENT_BACKOFF_FIRST_MS;

    for (unsigned i = 1; i < failures && delay < AGENT_BACKOFF_MAX_MS; i++)
        delay *= 2;
    if (delay > AGENT_BACKOFF_MAX_MS)
        delay = AGENT_BACKOFF_MAX_MS;
    return delay / 2 + random % (delay - delay / 2 + 1);
}
