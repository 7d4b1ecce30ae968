/* A fake for libnvidia-ml.so.1, NVIDIA's management library, that reports the GPUs a scenario
 * file describes. NVML's real Python binding loads it through LD_LIBRARY_PATH.
 *
 * What it reports is read from a scenario: see scenario.h. Every function takes one lock: it may be
 * called from many threads.
 */
#include "scenario.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15,
};

/* The structures of nvml.h. */
typedef struct { bytes_t total, free, used; } MemoryV1;
typedef struct { unsigned version; bytes_t total, reserved, free, used; } MemoryV2;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned long long reference, violation; } ViolationTime;
typedef struct {
    unsigned pid;
    unsigned long long time;
    unsigned multiprocessors, memory, encoder, decoder;
} ProcessUse;
typedef struct { unsigned pid; bytes_t memory; } ProcessV1;
typedef struct { unsigned pid; bytes_t memory; unsigned gpu_instance, compute_instance; } ProcessV2;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    int type, code;
    union { unsigned number; bytes_t widest; } value;
} FieldValue;
typedef struct {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} PciInfo;
typedef void *Handle;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int opened;               /* how often nvmlInit was called and not undone */
static int seen_lost[MAX_GPUS];  /* since NVML was opened */

/* ---- handles and errors ------------------------------------------------------------------- */

/* A handle is no pointer but a number: 1 + 16 * gpu for the GPU, and what follows for instances. */
static Handle handle_of(int gpu, int instance) { return (Handle)(size_t)(gpu * 16 + instance + 2); }
static int gpu_of(Handle handle) { return ((int)(size_t)handle - 1) / 16; }
static int instance_of(Handle handle) { return ((int)(size_t)handle - 1) % 16 - 1; }

static int failure(const Section *s, const char *function)
{
    for (int i = 0; i < s->failure_count; i++)
        if (strncmp(function, s->failures[i].function, strlen(s->failures[i].function)) == 0)
            return s->failures[i].code;
    return SUCCESS;
}

/* What every call on a GPU begins with. */
static int look_at_gpu(int gpu, const char *function)
{
    if (!opened) return UNINITIALIZED;
    if (refresh_scenario() != 0) return DRIVER_NOT_LOADED;
    int code = failure(&library, function);
    if (code != SUCCESS) return code;
    if (gpu < 0 || gpu >= gpu_count) return INVALID_ARGUMENT;
    if (gpus[gpu].lost) seen_lost[gpu] = 1;
    if (seen_lost[gpu]) return GPU_IS_LOST;
    return failure(&gpus[gpu], function);
}

static int look_at(Handle handle, const char *function, Section **section)
{
    int gpu = gpu_of(handle), instance = instance_of(handle);
    int code = look_at_gpu(handle ? gpu : -1, function);
    if (code != SUCCESS) return code;
    *section = instance < 0 ? &gpus[gpu] : &instances[gpu][instance];
    if (!(*section)->exists) return INVALID_ARGUMENT;
    return instance < 0 ? SUCCESS : failure(*section, function);
}

static int look_at_library(const char *function)
{
    if (!opened) return UNINITIALIZED;
    return refresh_scenario() == 0 ? failure(&library, function) : DRIVER_NOT_LOADED;
}

static int copy_text(char *buffer, unsigned size, const char *text)
{
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return SUCCESS;
}

/* Does under the lock, if the call may succeed, what follows LOOK; its result is in `code`. */
#define LOCKED(LOOK, ...)                  \
    do {                                   \
        pthread_mutex_lock(&lock);         \
        int code = (LOOK);                 \
        if (code == SUCCESS) {             \
            __VA_ARGS__;                   \
        }                                  \
        pthread_mutex_unlock(&lock);       \
        return code;                       \
    } while (0)
#define ON_LIBRARY(...) LOCKED(look_at_library(__func__), __VA_ARGS__)
#define ON_DEVICE(...)                                              \
    do {                                                            \
        Section *device = NULL;                                     \
        LOCKED(look_at(handle, __func__, &device), __VA_ARGS__);    \
    } while (0)

/* ---- the library's functions -------------------------------------------------------------- */

static int open_library(const char *function)
{
    if (open_scenario(getenv("FAKE_NVML")) != 0) return DRIVER_NOT_LOADED;
    int code = failure(&library, function);
    if (code != SUCCESS) return code;
    if (opened++ == 0) memset(seen_lost, 0, sizeof seen_lost);
    return SUCCESS;
}

EXPORT int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    LOCKED(open_library(__func__), (void)0);
}
EXPORT int nvmlInit_v2(void) { LOCKED(open_library(__func__), (void)0); }

EXPORT int nvmlShutdown(void) { LOCKED(opened ? SUCCESS : UNINITIALIZED, opened--); }

EXPORT const char *nvmlErrorString(int code)
{
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

EXPORT int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    ON_LIBRARY(code = copy_text(version, size, "580.95.05"));
}
EXPORT int nvmlSystemGetNVMLVersion(char *version, unsigned size)
{
    ON_LIBRARY(code = copy_text(version, size, "13.580.95.05"));
}
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { ON_LIBRARY(*version = 13000); }

EXPORT int nvmlDeviceGetCount_v2(unsigned *count) { ON_LIBRARY(*count = (unsigned)gpu_count); }

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *handle)
{
    LOCKED(look_at_gpu(index < MAX_GPUS ? (int)index : -1, __func__),
           *handle = handle_of((int)index, -1));
}

/* Like the real one, fails where any GPU that it searches is lost. */
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, Handle *handle)
{
    ON_LIBRARY(
        code = NOT_FOUND;
        for (int gpu = 0; gpu < gpu_count && code == NOT_FOUND; gpu++) {
            int looked = look_at_gpu(gpu, __func__);
            if (looked != SUCCESS) { code = looked; break; }
            for (int i = -1; i < MAX_INSTANCES; i++) {
                const Section *device = i < 0 ? &gpus[gpu] : &instances[gpu][i];
                if (!device->exists || strcmp(device->uuid, uuid) != 0) continue;
                *handle = handle_of(gpu, i);
                code = SUCCESS;
            }
        });
}

EXPORT int nvmlDeviceGetCpuAffinity(Handle handle, unsigned words, unsigned long *cpus)
{
    ON_DEVICE(
        if (device->near_end > 64 * words) code = INSUFFICIENT_SIZE;
        else if (device->near_end == 0) code = NOT_SUPPORTED;
        else {
            memset(cpus, 0, words * sizeof *cpus);
            for (unsigned cpu = device->near; cpu < device->near_end; cpu++)
                cpus[cpu / 64] |= 1UL << cpu % 64;
        });
}

EXPORT int nvmlDeviceGetIndex(Handle handle, unsigned *index)
{
    ON_DEVICE(*index = (unsigned)gpu_of(handle));
}
EXPORT int nvmlDeviceGetMinorNumber(Handle handle, unsigned *minor)
{
    ON_DEVICE(*minor = (unsigned)gpu_of(handle));
}
EXPORT int nvmlDeviceGetUUID(Handle handle, char *uuid, unsigned size)
{
    ON_DEVICE(code = copy_text(uuid, size, device->uuid));
}
EXPORT int nvmlDeviceGetName(Handle handle, char *name, unsigned size)
{
    ON_DEVICE(code = copy_text(name, size, device->name));
}
EXPORT int nvmlDeviceGetPciInfo_v3(Handle handle, PciInfo *info)
{
    ON_DEVICE(
        memset(info, 0, sizeof *info);
        info->bus = 1 + (unsigned)gpu_of(handle);
        snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus);
        snprintf(info->bus_id_legacy, sizeof info->bus_id_legacy, "0000:%02X:00.0", info->bus));
}

EXPORT int nvmlDeviceGetMemoryInfo(Handle handle, MemoryV1 *memory)
{
    ON_DEVICE(
        memory->total = device->total;
        memory->used = used_memory(device) + device->reserved;
        memory->free = device->total - memory->used);
}
EXPORT int nvmlDeviceGetMemoryInfo_v2(Handle handle, MemoryV2 *memory)
{
    ON_DEVICE(
        memory->total = device->total;
        memory->reserved = device->reserved;
        memory->used = used_memory(device);
        memory->free = device->total - device->reserved - memory->used);
}

EXPORT int nvmlDeviceGetUtilizationRates(Handle handle, Utilization *rates)
{
    ON_DEVICE(
        if (instance_of(handle) >= 0 || device->mig_mode) code = NOT_SUPPORTED;
        else *rates = (Utilization){device->utilization, 0});
}

EXPORT int nvmlDeviceGetPowerUsage(Handle handle, unsigned *milliwatts)
{
    ON_DEVICE(*milliwatts = device->power);
}

EXPORT int nvmlDeviceGetTemperature(Handle handle, int sensor, unsigned *degrees)
{
    (void)sensor;
    ON_DEVICE(*degrees = device->temperature);
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(Handle handle, unsigned long long *millijoules)
{
    ON_DEVICE(
        if (instance_of(handle) >= 0) code = NOT_SUPPORTED;
        else *millijoules = device->energy);
}
EXPORT int nvmlDeviceGetClockInfo(Handle handle, int type, unsigned *megahertz)
{
    (void)type;
    ON_DEVICE(*megahertz = device->clock);
}
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(Handle handle, unsigned long long *reasons)
{
    ON_DEVICE(*reasons = device->throttle);
}
EXPORT int nvmlDeviceGetViolationStatus(Handle handle, int policy, ViolationTime *lost)
{
    enum { THERMAL = 1 };
    ON_DEVICE(*lost = (ViolationTime){0, policy == THERMAL ? device->violation : 0});
}
EXPORT int nvmlDeviceGetProcessUtilization(Handle handle, ProcessUse *list, unsigned *size,
                                           unsigned long long since)
{
    ON_DEVICE(
        unsigned room = list ? *size : 0;
        *size = device->user ? 1 : 0;
        if (*size == 0) code = NOT_FOUND;
        else if (room < 1) code = INSUFFICIENT_SIZE;
        else *list = (ProcessUse){device->user, since + 1, device->user_percent, 0, 0, 0});
}

EXPORT int nvmlDeviceGetFieldValues(Handle handle, int count, FieldValue *values)
{
    enum { RECOVERY_ACTION = 230, UNSIGNED_INT = 1 };
    ON_DEVICE(
        if (instance_of(handle) >= 0) code = INVALID_ARGUMENT;
        for (int i = 0; i < count && code == SUCCESS; i++) {
            values[i].type = UNSIGNED_INT;
            values[i].code = values[i].field == RECOVERY_ACTION ? SUCCESS : NOT_SUPPORTED;
            values[i].value.number = device->recovery;
        });
}

/* Writes one of the process lists, in the old form (v1) or the one of v2 and v3. */
static int list_processes(const Section *s, unsigned wanted, unsigned *size, ProcessV1 *v1, ProcessV2 *v2)
{
    Process all[MAX_PROCESSES];
    int count = processes_on(s, all);
    unsigned room = v1 || v2 ? *size : 0, listed = 0;
    for (int i = 0; i < count; i++) {
        if ((all[i].kind == PHANTOM ? COMPUTES : all[i].kind) != wanted) continue;
        if (listed < room && v1) v1[listed] = (ProcessV1){all[i].pid, all[i].memory};
        if (listed < room && v2) v2[listed] = (ProcessV2){all[i].pid, all[i].memory, ~0U, ~0U};
        listed++;
    }
    *size = listed;
    return listed > room ? INSUFFICIENT_SIZE : SUCCESS;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses(Handle handle, unsigned *size, ProcessV1 *list)
{
    ON_DEVICE(code = list_processes(device, COMPUTES, size, list, NULL));
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(Handle handle, unsigned *size, ProcessV2 *list)
{
    ON_DEVICE(code = list_processes(device, COMPUTES, size, NULL, list));
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(Handle handle, unsigned *size, ProcessV2 *list)
{
    ON_DEVICE(code = list_processes(device, COMPUTES, size, NULL, list));
}
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v2(Handle handle, unsigned *size, ProcessV2 *list)
{
    ON_DEVICE(code = list_processes(device, DRAWS, size, NULL, list));
}
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle handle, unsigned *size, ProcessV2 *list)
{
    ON_DEVICE(code = list_processes(device, DRAWS, size, NULL, list));
}

EXPORT int nvmlDeviceGetMPSComputeRunningProcesses_v3(Handle handle, unsigned *size, ProcessV2 *list)
{
    ON_DEVICE(code = list_processes(device, MPS_CLIENT, size, NULL, list));
}
EXPORT int nvmlDeviceGetComputeMode(Handle handle, unsigned *mode)
{
    ON_DEVICE(*mode = device->compute_mode);
}

EXPORT int nvmlDeviceGetMigMode(Handle handle, unsigned *current, unsigned *pending)
{
    ON_DEVICE(*current = *pending = (unsigned)device->mig_mode);
}
EXPORT int nvmlDeviceGetMaxMigDeviceCount(Handle handle, unsigned *count)
{
    ON_DEVICE(*count = device->mig_mode ? MAX_INSTANCES - 1 : 0);
}
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(Handle handle, unsigned index, Handle *instance)
{
    ON_DEVICE(
        int gpu = gpu_of(handle);
        if (index >= MAX_INSTANCES) code = INVALID_ARGUMENT;
        else if (!instances[gpu][index].exists) code = NOT_FOUND;
        else *instance = handle_of(gpu, (int)index));
}
EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Handle handle, Handle *gpu)
{
    ON_DEVICE(*gpu = handle_of(gpu_of(handle), -1));
}
EXPORT int nvmlDeviceIsMigDeviceHandle(Handle handle, unsigned *is_instance)
{
    ON_DEVICE(*is_instance = instance_of(handle) >= 0);
}
