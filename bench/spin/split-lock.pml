/*
 * The split-lock protocol of the proposal "kvm: vmx: virtualize split lock detection" (v8), for SPIN 6.5.
 *
 * The same host as the scenario `split-lock` of `worldswitch explore`: two processors and three tasks. vCPU 0 and vCPU 1 share
 * processor 0, a user program has processor 1, and the thread of vCPU 0 may come to processor 1 once. Rule ids (SLD-...) are
 * those of docs/fidelity.md. `explore` runs the kernel's and KVM's own code; everything here was written by hand after it.
 *
 * A step is what `explore` takes for one: a processor runs its task from one preemption point to the next, or changes to another
 * task there. So each alternative of `processor` is one d_step, and the invariants are looked at at its end, where preemption is
 * possible. No step of the code was joined with another or divided: `npm run spin` counts the states and transitions of both. What
 * the model leaves out:
 *  - The vCPU's mutex: only its own thread calls its ioctls (SLD-61). Its steps are there.
 *  - Registers, interrupts, CPUID, the log and the clock: with the thread flag, warn mode neither sleeps nor arms a timer (SLD-22).
 *  - The guards of SLD-43 on mode and capability: the mode is warn and every vCPU has it.
 *  - Sleep: a task is runnable until it is finished.
 *
 *   spin -o2 -DVARIANT=no_restore -DBOUND=2 -a split-lock.pml && gcc -O2 -DSAFETY -DBFS -o pan pan.c && ./pan
 *   spin -p -g -t -DVARIANT=no_restore -DBOUND=2 split-lock.pml       shows the shortest run that pan found
 */

/* The good code and the mistakes of SLD-58 and of the review; names as `worldswitch explore --list` has them, with _ for -. */
#define good                       1
#define preemptible_update         2  /* B1 */
#define register_without_flag      3  /* B2 */
#define flag_without_register      4  /* B3 */
#define ioctl_propagates           5  /* B4 */
#define loaded_tested_preemptibly  6  /* B5 */
#define snapshot_while_loaded      7  /* B6 */
#define restore_on_old_processor   8  /* B7 */
#define flags_equal_register_wrong 9  /* B8 */
#define shared_register            10 /* B9 */
#define flag_inverted              11
#define no_restore                 12

#ifndef VARIANT
#define VARIANT good
#endif
#if VARIANT < good || VARIANT > no_restore
#error VARIANT is none of this model
#endif

/* Preemptions that a run may have: changes of task where the old one could have gone on. */
#ifndef BOUND
#define BOUND 2
#endif

/* Tasks. The idle thread has a flag too, and it is always clear (SLD-29). */
#define VCPU0 0
#define VCPU1 1
#define USER  2
#define IDLE  3

/* Where a task goes on after its preemption point. */
#define START       0
#define SET_MSRS    1  /* vCPU 1: before KVM_SET_MSRS takes the mutex */
#define SET_LOAD    2  /* before vcpu_load */
#define SET_WRITE   3  /* before its one MSR is written */
#define SET_PUT     4  /* before vcpu_put */
#define RUN_CALLED  5  /* before KVM_RUN takes the mutex */
#define RUN_LOAD    6  /* before the guest's registers are loaded */
#define RUN_PREPARE 7
#define RUN_LOOP    8  /* before a VM entry, or between exit and entry */
#define RUN_PUT     9  /* KVM_RUN is to return: before vcpu_put */
#define USER_ACCESS 10 /* before the access that crosses cache lines */
#define USER_DONE   11
#define FINISHED    12

/* What guests do, one event an entry. */
#define WRMSR_ON   0
#define WRMSR_OFF  1
#define SPLIT_LOCK 2
#define HLT        3

/* ---- state ---- */

/* MSR_TEST_CTRL[29] of each processor: detection is on. */
#if VARIANT == flags_equal_register_wrong
bool sld[2] = { true, false };
#else
bool sld[2] = { true, true };
#endif
/* Who runs on each processor. */
byte current[2] = { VCPU0, USER };

/* The thread flag: set = detection is off while this thread runs (SLD-26). */
#if VARIANT == flags_equal_register_wrong
bool flag[4] = { false, false, true, false };
#else
bool flag[4] = { false, false, false, false };
#endif
byte point[3] = { RUN_CALLED, START, START };
/* The processor where a task ran last; it comes to another one only by a migration. */
byte last_cpu[3] = { 0, 0, 1 };

/* GuestSplitLock of each vCPU (SLD-43): the guest's MSR_TEST_CTRL[29], what to restore, and whether the guest's is on the processor. */
bool test_ctrl[2] = { false, false };
bool host_detection[2] = { true, true };
bool loaded[2] = { false, false };
/* The preempt notifier is registered: from vcpu_load to vcpu_put. */
bool notifier[2] = { false, false };

/* The guests: the next event, and an #AC to be injected at the next entry. */
byte next_event[2] = { 0, 0 };
bool ac_queued[2] = { false, false };

byte preemptions = 0;
byte migrations_left = 1;

/* What single mistakes keep beside that. */
#if VARIANT == preemptible_update
bool half_written[2] = { false, false };   /* the register is written, the flag not yet */
bool has_warned = false;                   /* within a step: the warn path ran */
#endif
#if VARIANT == loaded_tested_preemptibly
bool update_pending[2] = { false, false }; /* "it is loaded" was seen, and is still to be acted on */
#endif
#if VARIANT == restore_on_old_processor
byte loaded_on[2] = { 0, 0 };
#endif

/* What must hold, as of the last step: names of explore's invariants for SPIN to print. */
bool test_ctrl_follows_flag = true;
bool own_split_lock_setting = true;
bool loaded_only_where_current = true;

#define detection_of(t) (!flag[t])
#define has_left(v)     (point[v] == RUN_PUT)

/* ---- linux/splitlock ---- */

/* setDetection(), sld_update_msr: the register. SLD-12. B9: threads of one core share it (SLD-06). */
inline set_detection(p, on)
{
#if VARIANT == shared_register
	sld[0] = on;
	sld[1] = on
#else
	sld[p] = on
#endif
}

/* setDetectionOfThread(): register and flag together, preemption off. SLD-53, SLD-55. */
inline set_detection_of_thread(p, t, on)
{
	set_detection(p, on);
	flag[t] = !(on)
}

/* switchDetection(), switch_to_sld(): the register is written if the flags differ, and not looked at. SLD-27. */
inline switch_detection(p, previous, next)
{
	if
	:: flag[previous] != flag[next] -> set_detection(p, detection_of(next))
	:: else
	fi
}

/* warnSplitLock(), split_lock_warn() of the thread-flag design: detection off for the thread, then the access is tried again. SLD-22. */
inline warn_split_lock(p, t)
{
	set_detection_of_thread(p, t, false)
}

/*
 * switchDetectionForGuest(): the guest's or again the host's setting, nothing if the flag says it is so already. SLD-43.
 * Mistakes: B2 and B8, B3 leave out one of both, and one side may store the flag inverted (SLD-30).
 */
inline switch_detection_for_guest(p, v, on, is_put)
{
	if
	:: detection_of(v) != on ->
#if VARIANT == register_without_flag
		set_detection(p, on)
#elif VARIANT == flag_without_register || VARIANT == flags_equal_register_wrong
		flag[v] = !(on)
#elif VARIANT == flag_inverted
		set_detection(p, on);
		flag[v] = (is_put -> !(on) : on)
#else
		set_detection_of_thread(p, v, on)
#endif
	:: else
	fi
}

/* ---- kvm/vcpu/split-lock: GuestSplitLock. Preemption is off (SLD-56). ---- */

/* load(), prepare_switch_to_guest: a snapshot of the host's setting, then the guest's; nothing while loaded. SLD-57. */
inline guest_load(p, v)
{
#if VARIANT != preemptible_update
	if
	:: loaded[v] ->
#if VARIANT == snapshot_while_loaded
		host_detection[v] = detection_of(v)
#else
		skip
#endif
	:: else ->
		host_detection[v] = detection_of(v);
		loaded[v] = true;
#if VARIANT == restore_on_old_processor
		loaded_on[v] = p;
#endif
		switch_detection_for_guest(p, v, test_ctrl[v], false)
	fi
#else
	skip
#endif
}

/* put(), prepare_switch_to_host: at vcpu_put and when the thread is scheduled out. */
inline guest_put(p, v)
{
	if
#if VARIANT == restore_on_old_processor
	/* B7: no notifier does it, only vcpu_put; and there it is done where it was loaded. */
	:: loaded[v] && has_left(v) ->
		if
		:: detection_of(v) != host_detection[v] ->
			set_detection(loaded_on[v], host_detection[v]);
			flag[v] = !host_detection[v]
		:: else
		fi;
		loaded[v] = false
#elif VARIANT == no_restore
	:: loaded[v] -> loaded[v] = false
#else
	:: loaded[v] ->
		switch_detection_for_guest(p, v, host_detection[v], true);
		loaded[v] = false
#endif
	:: else
	fi
}

/* propagate(): a stored setting reaches the processor only if the guest's is on it. SLD-45, SLD-60. */
inline propagate(p, v)
{
#if VARIANT == ioctl_propagates
	if
	:: detection_of(v) != test_ctrl[v] -> set_detection_of_thread(p, v, test_ctrl[v])
	:: else
	fi
#elif VARIANT == loaded_tested_preemptibly
	if
	:: loaded[v] -> update_pending[v] = true
	:: else
	fi
#else
	if
	:: loaded[v] -> switch_detection_for_guest(p, v, test_ctrl[v], false)
	:: else
	fi
#endif
}

/* A write of MSR_TEST_CTRL by guest or host (kvm/msr/table). */
inline write_test_ctrl(p, v, on)
{
	test_ctrl[v] = on;
	propagate(p, v)
}

/* ---- linux/sched: Scheduler ---- */

/* leave(), the notifier's half: schedOut() of VcpuResidency, before the next task is switched to (SLD-54). */
inline sched_out(p, t)
{
	if
	:: t != USER && notifier[t] -> guest_put(p, t)
	:: t == USER || !notifier[t]
	fi
}

/* leave() with nobody next: the idle thread takes the processor. */
inline leave_to_idle(p)
{
	sched_out(p, current[p]);
	switch_detection(p, current[p], IDLE);
	current[p] = IDLE
}

/* switchTo(), after leave() where somebody was running: no idle thread in between. */
inline switch_to(p, t)
{
	if
	:: last_cpu[t] != p -> migrations_left--
	:: else
	fi;
	if
	:: current[p] != IDLE ->
		preemptions++;
		sched_out(p, current[p])
	:: else
	fi;
	switch_detection(p, current[p], t);
	current[p] = t;
	last_cpu[t] = p
}

/* ---- the guests' events (explore's guest-script) ---- */

/* Guest 0 turns its detection on, takes a split lock, turns it off; guest 1 has it off and takes one. */
#define event_of(v) (v == VCPU0 \
	-> (next_event[v] == 0 -> WRMSR_ON : (next_event[v] == 1 -> SPLIT_LOCK : (next_event[v] == 2 -> WRMSR_OFF : HLT))) \
	:  (next_event[v] == 0 -> SPLIT_LOCK : HLT))

/* handleAlignmentCheck(): a guest with detection gets its #AC (SLD-48), else the host's warn path runs and the guest tries again. */
inline alignment_check(p, v)
{
	if
	:: test_ctrl[v] -> ac_queued[v] = true
	:: else ->
#if VARIANT == preemptible_update
		has_warned = true;
#endif
		warn_split_lock(p, v)
	fi
}

/* One stay in the guest and the exit that ends it: a timer tick ends each. */
inline enter_guest(p, v)
{
	if
	:: ac_queued[v] ->
		/* The guest's #AC handler gives up the access. */
		ac_queued[v] = false;
		next_event[v]++
	:: else ->
		if
		:: event_of(v) == WRMSR_ON ->
			next_event[v]++;
			write_test_ctrl(p, v, true)
		:: event_of(v) == WRMSR_OFF ->
			next_event[v]++;
			write_test_ctrl(p, v, false)
		:: event_of(v) == SPLIT_LOCK ->
			if
			:: sld[p] -> alignment_check(p, v)
			:: else -> next_event[v]++
			fi
		:: event_of(v) == HLT -> point[v] = RUN_PUT
		fi
	fi
}

/* ---- kvm/run ---- */

#if VARIANT == preemptible_update
/* B1: what guest_load() does, with a preemption point between register and flag. */
inline load_preemptibly(p, v)
{
	if
	:: !loaded[v] ->
		host_detection[v] = detection_of(v);
		loaded[v] = true;
		if
		:: detection_of(v) != test_ctrl[v] ->
			set_detection(p, test_ctrl[v]);
			half_written[v] = true
		:: else
		fi
	:: else
	fi
}
#endif

/* What single mistakes do in the loop with preemption enabled, before the entry. */
inline before_entry(p, v)
{
#if VARIANT == preemptible_update
	if
	:: half_written[v] ->
		flag[v] = !test_ctrl[v];
		half_written[v] = false
	:: else -> load_preemptibly(p, v)
	fi
#elif VARIANT == loaded_tested_preemptibly
	/* B5: acted on, whatever was unloaded meanwhile. */
	if
	:: update_pending[v] ->
		update_pending[v] = false;
		if
		:: detection_of(v) != test_ctrl[v] -> set_detection_of_thread(p, v, test_ctrl[v])
		:: else
		fi
	:: else
	fi
#else
	skip
#endif
}

/* The loop begins again: what it does before the scheduler is asked, unless the warn path was what it had to do. */
inline after_exit(p, v)
{
#if VARIANT == preemptible_update
	if
	:: !has_left(v) && !has_warned -> load_preemptibly(p, v)
	:: else -> has_warned = false
	fi
#else
	skip
#endif
}

/* runLoop() and runUntilAttention(): one entry, as the tick asks for the scheduler after each. */
inline run_loop(p, v)
{
	before_entry(p, v);
	if
#if VARIANT == preemptible_update
	:: half_written[v] /* the preemption point between both */
#endif
	:: else ->
		guest_load(p, v);
		enter_guest(p, v);
		after_exit(p, v)
	fi
}

/* The thread of a vCPU goes on: vCPU 0 calls KVM_RUN, vCPU 1 KVM_SET_MSRS(MSR_TEST_CTRL, 0) and then KVM_RUN. */
inline vcpu_step(p, v)
{
	if
	:: point[v] == START -> point[v] = SET_MSRS
	:: point[v] == SET_MSRS -> point[v] = SET_LOAD
	:: point[v] == SET_LOAD ->
		notifier[v] = true;
		point[v] = SET_WRITE
	:: point[v] == SET_WRITE ->
		write_test_ctrl(p, v, false);
		point[v] = SET_PUT
	:: point[v] == SET_PUT ->
		notifier[v] = false;
		point[v] = RUN_CALLED
	:: point[v] == RUN_CALLED ->
		notifier[v] = true;
		point[v] = RUN_LOAD
	:: point[v] == RUN_LOAD -> point[v] = RUN_PREPARE
	:: point[v] == RUN_PREPARE -> point[v] = RUN_LOOP
	:: point[v] == RUN_LOOP -> run_loop(p, v)
	:: point[v] == RUN_PUT ->
		guest_put(p, v);
		notifier[v] = false;
		point[v] = FINISHED;
		leave_to_idle(p)
	fi
}

/* A program that takes a split lock: #AC, the host's warn path (SLD-17), tried again until it goes through. */
inline user_step(p)
{
	if
	:: point[USER] == START -> point[USER] = USER_ACCESS
	:: point[USER] == USER_ACCESS ->
		if
		:: sld[p] -> warn_split_lock(p, USER)
		:: else -> point[USER] = USER_DONE
		fi
	:: point[USER] == USER_DONE ->
		point[USER] = FINISHED;
		leave_to_idle(p)
	fi
}

/* ---- what must hold wherever preemption is possible ---- */

#define agrees(p)      (sld[p] == detection_of(current[p]))
#define keeps(v)       (loaded[v] || detection_of(v))
#define is_current(v)  (current[0] == v || current[1] == v)

inline check()
{
	/* I1: MSR_TEST_CTRL[29] is what the flag of the task on the processor says. SLD-53. */
	test_ctrl_follows_flag = agrees(0) && agrees(1);
	assert(test_ctrl_follows_flag);
	/* A thread has its own setting while its guest is not loaded; these threads take no split lock. SLD-57, SLD-60. */
	own_split_lock_setting = keeps(VCPU0) && keeps(VCPU1);
	assert(own_split_lock_setting);
	/* I2: a guest is loaded only while its thread is on a processor. SLD-54. */
	loaded_only_where_current = (!loaded[VCPU0] || is_current(VCPU0)) && (!loaded[VCPU1] || is_current(VCPU1));
	assert(loaded_only_where_current)
}

/* ---- the processors ---- */

/* Affinities: vCPU 0 both processors, vCPU 1 processor 0, the program processor 1. */
#define may_use(p, t) (t == VCPU0 || (t == VCPU1 && p == 0) || (t == USER && p == 1))
#define may_come(p, t) (point[t] != FINISHED && !is_current(t) && may_use(p, t) && (last_cpu[t] == p || migrations_left > 0))
#define may_take(p)   (current[p] == IDLE || preemptions < BOUND)

active [2] proctype processor()
{
	/* A run is over when neither can do anything. */
end:
	do
	:: d_step { current[_pid] == VCPU0 -> vcpu_step(_pid, VCPU0); check() }
	:: d_step { current[_pid] == VCPU1 -> vcpu_step(_pid, VCPU1); check() }
	:: d_step { current[_pid] == USER -> user_step(_pid); check() }
	:: d_step { may_take(_pid) && may_come(_pid, VCPU0) -> switch_to(_pid, VCPU0); check() }
	:: d_step { may_take(_pid) && may_come(_pid, VCPU1) -> switch_to(_pid, VCPU1); check() }
	:: d_step { may_take(_pid) && may_come(_pid, USER) -> switch_to(_pid, USER); check() }
	/* Out of the way, for the other processor to take it. */
	:: d_step { current[_pid] == VCPU0 && migrations_left > 0 && preemptions < BOUND ->
		preemptions++;
		leave_to_idle(_pid);
		check()
	}
	od
}
