/* The scenario that the fake NVML reports.
 *
 * The folder $FAKE_NVML holds
 *
 *   scenario          read again whenever it changes; replace it by renaming
 *   use/UUID/PID      a process's use of a GPU or MIG instance: bytes of memory, in decimal, and
 *                     "mps" behind it for a client of MPS. It counts while the process lives; the process, or nobody, removes it
 *
 * A scenario is lines of words. `gpu` and `mig` begin a section, and what follows belongs to it;
 * what stands before the first section concerns the library.
 *
 *   start SECONDS            the epoch time that `at` counts from; the load of the library if absent
 *   fails FUNCTION CODE      calls of functions whose name begins so return this error
 *   gpu UUID                 the next GPU in the order of the PCI bus
 *   mig NUMBER UUID          an instance of the GPU above, which is then in MIG mode
 *   mig_mode                 the GPU is in MIG mode, with or without instances
 *   name WORDS
 *   total BYTES, reserved BYTES
 *   hidden BYTES             memory held by processes that are not listed
 *   utilization PERCENT
 *   energy MILLIJOULES       used since the driver was loaded
 *   power MILLIWATTS         drawn at this moment
 *   temperature DEGREES      Celsius
 *   clock MHZ                of the multiprocessors
 *   throttle BITS            why the clocks are low at this moment (nvmlClocksEventReason…)
 *   violation NANOSECONDS    for how long heat has slowed the GPU down since the driver was loaded
 *   used PID PERCENT         that process used the multiprocessors in the last second
 *   process PID BYTES        listed, and holding memory ("-": NVML does not tell how much)
 *   client PID BYTES         the same, but by way of MPS
 *   compute_mode MODE        of nvmlComputeMode_t: who may use the GPU
 *   display PID BYTES        the same, but only drawing
 *   phantom PID BYTES        listed, though there is no such process and no memory is held
 *   leave PID                no longer listed
 *   recovery ACTION          of nvmlDeviceGpuRecoveryAction_t: what an XID error left to be done
 *   near CPU END             its CPUs are these, without the last one; NVML does not tell if absent
 *   lost 0|1                 fallen off the bus, and seen as lost until NVML is opened anew
 *   at SECONDS LINE          the line counts from then on
 */
#ifndef SCENARIO_H
#define SCENARIO_H

enum { MAX_GPUS = 64, MAX_INSTANCES = 8, MAX_PROCESSES = 64, MAX_FAILURES = 16 };
#define NOT_AVAILABLE (~0ULL)

typedef unsigned long long bytes_t;
typedef struct { char function[64]; int code; } Failure;
typedef struct { unsigned pid; bytes_t memory; enum { COMPUTES, DRAWS, PHANTOM, MPS_CLIENT } kind; } Process;

/* A GPU, a MIG instance, or the library itself. */
typedef struct {
    char uuid[96], name[96];
    bytes_t total, reserved, hidden;
    unsigned utilization, power, temperature, recovery, clock, compute_mode, user, user_percent, near, near_end;
    unsigned long long energy, throttle, violation;
    int exists, lost, mig_mode;
    Process processes[MAX_PROCESSES];
    int process_count;
    Failure failures[MAX_FAILURES];
    int failure_count;
} Section;

extern Section library, gpus[MAX_GPUS], instances[MAX_GPUS][MAX_INSTANCES];
extern int gpu_count;

/* Sets the folder, once, before anything else. Returns 0 if there is a scenario in it. */
int open_scenario(const char *folder);

/* Brings what stands above up to date. Returns 0 if there is a scenario. */
int refresh_scenario(void);

/* Writes who is on a device, MAX_PROCESSES at most, and returns how many. */
int processes_on(const Section *device, Process *processes);

/* Returns the bytes in use on a device, the driver's reserve apart. */
bytes_t used_memory(const Section *device);

#endif
