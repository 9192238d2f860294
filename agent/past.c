#include "agent/past.h"

#include <stdlib.h>

static void chain_forget(struct agent_chain *chain)
{
    free(chain->facts);
    chain->facts = NULL;
}

void agent_past_chain(struct agent_chain *chain, const struct sp_facts *facts,
                      const struct sp_verdict *verdict)
{
    chain_forget(chain);
    chain->facts = sp_calloc(1, sizeof *chain->facts);
    *chain->facts = *facts;
    chain->verdict = *verdict;
}

void agent_past_forget(struct agent_past *past)
{
    chain_forget(&past->failed);
    past->failure.why = NULL;
    past->other_ports = AGENT_PORTS_UNTRIED;
}

void agent_past_remember(struct agent_past *past, const struct agent_failure *failure)
{
    chain_forget(&past->failed);
    past->why = *failure->why;
    past->failure = (struct agent_failure){
        .stage = failure->stage,
        .why = &past->why,
        .gateway = &past->target,
    };
    if (failure->addr) {
        past->addr = *failure->addr;
        past->failure.addr = &past->addr;
    }
    if (failure->facts) {
        agent_past_chain(&past->failed, failure->facts, failure->verdict);
        past->failure.facts = past->failed.facts;
        past->failure.verdict = &past->failed.verdict;
    }
}

void agent_past_done(struct agent_past *past)
{
    agent_past_forget(past);
    chain_forget(&past->passed);
}
