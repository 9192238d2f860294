/*
 * command: `sallyport-agent NAME ...`: what is asked on the command line beside running the agent.
 * Each is one function in a file of its own; main.c has the table.
 */
#ifndef SALLYPORT_AGENT_COMMAND_H
#define SALLYPORT_AGENT_COMMAND_H
#include "common/error.h"
#include <stdio.h>

struct agent_command {
    const char *name;
    const char *purpose; /* one sentence for --help, without a full stop */
    /* argv[0] is the name. What was asked for is written to `out`; *ret_exit is the exit status
     * (common/options.h). An error: main prints it, and exits with 2 if it is one of usage or
     * configuration, else 1. Main thread. */
    enum sp_err (*run)(int argc, char **argv, FILE *out, int *ret_exit, struct sp_error *err);
};

extern const struct agent_command agent_diagnose_command, agent_route_command, agent_rules_command,
    agent_status_command;
#endif
