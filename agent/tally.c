#include "agent/tally.h"

void agent_tally_refused(struct agent_tally *tally, const struct agent_refusal *refusal,
                         const struct sp_target *target, int64_t now)
{
    tally->refused++;
    tally->last = *refusal;
    tally->last_time = now;
    tally->last_destination[0] = '\0';
    if (target)
        sp_target_format(target, tally->last_destination);
}
