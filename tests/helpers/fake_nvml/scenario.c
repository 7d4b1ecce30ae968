#define _GNU_SOURCE
#include "scenario.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

Section library, gpus[MAX_GPUS], instances[MAX_GPUS][MAX_INSTANCES];
int gpu_count;

static char folder[PATH_MAX / 2];
static struct stat read_as;            /* the scenario file when it was last read */
static double loaded_at, next_change;  /* epoch seconds */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the scenario ------------------------------------------------------------------------- */

static void add_process(Section *s, const char *arguments, int kind)
{
    unsigned pid;
    char memory[32];
    if (sscanf(arguments, "%u %31s", &pid, memory) != 2 || s->process_count == MAX_PROCESSES) return;
    bytes_t held = strcmp(memory, "-") == 0 ? NOT_AVAILABLE : strtoull(memory, NULL, 10);
    s->processes[s->process_count++] = (Process){pid, held, kind};
}

static void remove_process(Section *s, unsigned pid)
{
    int kept = 0;
    for (int i = 0; i < s->process_count; i++)
        if (s->processes[i].pid != pid) s->processes[kept++] = s->processes[i];
    s->process_count = kept;
}

static void add_failure(Section *s, const char *arguments)
{
    Failure f;
    if (s->failure_count < MAX_FAILURES && sscanf(arguments, "%63s %d", f.function, &f.code) == 2)
        s->failures[s->failure_count++] = f;
}

/* Returns the section that the next line belongs to. */
static Section *begin_section(Section *current, const char *word, const char *arguments)
{
    if (strcmp(word, "gpu") == 0 && gpu_count < MAX_GPUS) {
        current = &gpus[gpu_count++];
        snprintf(current->uuid, sizeof current->uuid, "%s", arguments);
        current->exists = 1;
    } else if (strcmp(word, "mig") == 0 && gpu_count > 0) {
        int number, skipped;
        if (sscanf(arguments, "%d %n", &number, &skipped) < 1) return current;
        if (number < 0 || number >= MAX_INSTANCES) return current;
        gpus[gpu_count - 1].mig_mode = 1;
        current = &instances[gpu_count - 1][number];
        snprintf(current->uuid, sizeof current->uuid, "%s", arguments + skipped);
        current->exists = 1;
    }
    return current;
}

static Section *apply(Section *s, const char *word, const char *arguments)
{
    bytes_t number = strtoull(arguments, NULL, 10);
    if (strcmp(word, "name") == 0) snprintf(s->name, sizeof s->name, "%s", arguments);
    else if (strcmp(word, "total") == 0) s->total = number;
    else if (strcmp(word, "reserved") == 0) s->reserved = number;
    else if (strcmp(word, "hidden") == 0) s->hidden = number;
    else if (strcmp(word, "utilization") == 0) s->utilization = (unsigned)number;
    else if (strcmp(word, "recovery") == 0) s->recovery = (unsigned)number;
    else if (strcmp(word, "energy") == 0) s->energy = number;
    else if (strcmp(word, "power") == 0) s->power = (unsigned)number;
    else if (strcmp(word, "temperature") == 0) s->temperature = (unsigned)number;
    else if (strcmp(word, "clock") == 0) s->clock = (unsigned)number;
    else if (strcmp(word, "throttle") == 0) s->throttle = number;
    else if (strcmp(word, "violation") == 0) s->violation = number;
    else if (strcmp(word, "used") == 0) sscanf(arguments, "%u %u", &s->user, &s->user_percent);
    else if (strcmp(word, "near") == 0) sscanf(arguments, "%u %u", &s->near, &s->near_end);
    else if (strcmp(word, "lost") == 0) s->lost = (int)number;
    else if (strcmp(word, "mig_mode") == 0) s->mig_mode = 1;
    else if (strcmp(word, "process") == 0) add_process(s, arguments, COMPUTES);
    else if (strcmp(word, "display") == 0) add_process(s, arguments, DRAWS);
    else if (strcmp(word, "client") == 0) add_process(s, arguments, MPS_CLIENT);
    else if (strcmp(word, "compute_mode") == 0) s->compute_mode = (unsigned)number;
    else if (strcmp(word, "phantom") == 0) add_process(s, arguments, PHANTOM);
    else if (strcmp(word, "leave") == 0) remove_process(s, (unsigned)number);
    else if (strcmp(word, "fails") == 0) add_failure(s, arguments);
    else return begin_section(s, word, arguments);
    return s;
}

/* Cuts the first word off a line: returns what follows it. */
static char *after_word(char *line)
{
    char *end = line + strcspn(line, " \t");
    if (*end == '\0') return end;
    *end = '\0';
    return end + 1 + strspn(end + 1, " \t");
}

static void read_scenario(FILE *file)
{
    char text[512];
    double start = loaded_at, time = now();
    Section *section = &library;

    memset(&library, 0, sizeof library);
    memset(gpus, 0, sizeof gpus);
    memset(instances, 0, sizeof instances);
    gpu_count = 0;
    next_change = 1e300;
    while (fgets(text, sizeof text, file)) {
        text[strcspn(text, "\r\n")] = '\0';
        char *line = text + strspn(text, " \t"), *arguments = after_word(line);
        if (strcmp(line, "start") == 0) start = strtod(arguments, NULL);
        if (strcmp(line, "at") == 0) {
            double due = start + strtod(arguments, &line);
            if (due > time) {
                if (due < next_change) next_change = due;
                continue;
            }
            line += strspn(line, " \t");
            arguments = after_word(line);
        }
        section = apply(section, line, arguments);
    }
}

int refresh_scenario(void)
{
    char path[PATH_MAX];
    struct stat status;
    snprintf(path, sizeof path, "%s/scenario", folder);
    if (stat(path, &status) != 0) return -1;
    int same = status.st_ino == read_as.st_ino && status.st_size == read_as.st_size
        && status.st_mtim.tv_sec == read_as.st_mtim.tv_sec
        && status.st_mtim.tv_nsec == read_as.st_mtim.tv_nsec;
    if (same && now() < next_change) return 0;
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    fstat(fileno(file), &read_as);  /* of what is read, should it be replaced at this moment */
    read_scenario(file);
    fclose(file);
    return 0;
}

int open_scenario(const char *path)
{
    if (!path || strlen(path) >= sizeof folder) return -1;
    strcpy(folder, path);
    if (!loaded_at) loaded_at = now();
    return refresh_scenario();
}

/* ---- processes that really run ------------------------------------------------------------ */

static int is_alive(const char *pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] && name_end[2] != 'Z' && name_end[2] != 'X';
}

/* Adds the live processes under use/UUID to `processes`, and returns how many are in it then. */
static int add_users(const Section *s, Process *processes, int count)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/use/%s", folder, s->uuid);
    DIR *directory = opendir(path);
    if (!directory) return count;
    for (struct dirent *entry; (entry = readdir(directory)) && count < MAX_PROCESSES;) {
        char *end;
        unsigned long pid = strtoul(entry->d_name, &end, 10);
        bytes_t memory = 0;
        if (pid == 0 || *end != '\0' || !is_alive(entry->d_name)) continue;
        snprintf(path, sizeof path, "%s/use/%s/%lu", folder, s->uuid, pid);
        FILE *file = fopen(path, "re");
        if (!file) continue;
        char way[8] = "";
        if (fscanf(file, "%llu %7s", &memory, way) >= 1)
            processes[count++] = (Process){(unsigned)pid, memory, way[0] ? MPS_CLIENT : COMPUTES};
        fclose(file);
    }
    closedir(directory);
    return count;
}

int processes_on(const Section *s, Process *processes)
{
    memcpy(processes, s->processes, sizeof(Process) * (size_t)s->process_count);
    return add_users(s, processes, s->process_count);
}

bytes_t used_memory(const Section *s)
{
    Process processes[MAX_PROCESSES];
    int count = processes_on(s, processes);
    bytes_t used = s->hidden;
    for (int i = 0; i < count; i++)
        if (processes[i].kind != PHANTOM && processes[i].memory != NOT_AVAILABLE)
            used += processes[i].memory;
    bytes_t room = s->total - s->reserved;
    return used < room ? used : room;
}

