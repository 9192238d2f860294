#include "agent/state.h"

const char *agent_state_name(enum agent_state state)
{
    static const char *const names[] = {
#define XX(id, name) [AGENT_STATE_##id] = (name),
        AGENT_STATE_MAP(XX)
#undef XX
    };

    return names[state];
}
