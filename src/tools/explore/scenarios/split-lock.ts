import { MSR_TEST_CTRL } from '../../../isa/msr-index.ts'
import type { Preemptible } from '../../../linux/preemption.ts'
import { PREEMPTION_POINT } from '../../../linux/preemption.ts'
import type { HostCpu } from '../../../linux/processor.ts'
import { userSplitLock } from '../../../linux/splitlock/user-traps.ts'
import type { Task } from '../../../linux/task.ts'
import type { HostModel, Invariant } from '../host-system.ts'
import type { Values } from '../system.ts'
import { argument, type ModelVcpu, msrList, VcpuHost } from '../vcpu-host.ts'
import { watch } from '../watch.ts'
import type { SplitLockVariant } from './split-lock-variants.ts'

const SLD = 1 << 29

/** A user program that takes one split lock: tried again until it goes through. */
export function* userProgram(task: Task, splitLocks: number): Preemptible<void> {
  for (let i = 0; i < splitLocks; i++) {
    for (;;) {
      yield PREEMPTION_POINT
      if ((Number(task.cpu!.processor.rdmsr(MSR_TEST_CTRL)) & SLD) === 0) break
      const work = userSplitLock(task, 0x401000)
      if (work === null) return
      yield* work
    }
  }
  yield PREEMPTION_POINT
}

export interface SplitLockOptions {
  readonly kernel: string
  readonly decoder: WebAssembly.Module
  /** A mistake put back. */
  readonly variant?: SplitLockVariant
}

/**
 * Two vCPUs and a task: the first guest turns its own detection on, takes a split lock and turns it off, the second has detection off and takes
 * one, the task takes one in user mode. The first vCPU's thread may come to the other processor once.
 */
export function splitLock({ kernel, decoder, variant }: SplitLockOptions): HostModel {
  const host = new VcpuHost({
    kernel,
    cpu: 'SapphireRapids',
    decoder,
    guests: [
      [
        { kind: 'wrmsr', index: MSR_TEST_CTRL, value: SLD },
        { kind: 'split-lock' },
        { kind: 'wrmsr', index: MSR_TEST_CTRL, value: 0 },
        { kind: 'hlt' },
      ],
      [{ kind: 'split-lock' }, { kind: 'hlt' }],
    ],
    others: 1,
  })
  const { recorder, vcpus, tasks } = host
  const [first, second] = vcpus
  const task = tasks[0]
  const msrs = argument(host, msrList(MSR_TEST_CTRL, 0n))
  const all = [first.task, second.task, task]
  first.task.affinity = 3
  second.task.affinity = 1
  task.affinity = 2
  first.task.cpuId = 0
  second.task.cpuId = 0
  task.cpuId = 1
  for (const [i, each] of all.entries()) watch(recorder, each, ['vcpu0', 'vcpu1', 'task'][i], 'splitLockAllowed')
  for (const [i, { vcpu }] of vcpus.entries())
    if (vcpu.splitLock !== null) watch(recorder, vcpu.splitLock, `vcpu${i}`, 'testCtrl', 'hostDetection', 'loaded')
  variant?.apply(host)
  watch(recorder, host.host.kernel.splitLock, 'splitLock', 'busLockHeld')
  return {
    kernel: host.host.kernel,
    recorder,
    actors: [
      { name: 'vcpu0', task: first.task, body: () => host.ioctl(first, first.task, 'KVM_RUN') },
      { name: 'vcpu1', task: second.task, body: () => setMsrsThenRun(host, second, msrs) },
      { name: 'task', task, body: () => userProgram(task, 1) },
    ],
    invariants: [detectionFollowsFlag(host), threadKeepsItsOwn(host), loadedOnlyWhereCurrent(host)],
    objects: host.objects,
    memory: host.memory,
    migrations: 1,
    describe: () => describe(host),
  }
}

const registerOf = (host: VcpuHost, cpu: number): boolean =>
  (Number(host.host.machine.processors[cpu].msrs.get(MSR_TEST_CTRL) ?? 0n) & SLD) !== 0

/** I1: where preemption is possible, MSR_TEST_CTRL[29] is what the flag of the task there says. SLD-53. */
export function detectionFollowsFlag(host: VcpuHost): Invariant {
  return {
    id: 'test-ctrl-follows-flag',
    name: 'MSR_TEST_CTRL[29] is what the flag of the task on the processor says [SLD-53]',
    check: () => {
      for (const cpu of host.host.kernel.cpus) {
        const wanted = cpu.current?.splitLockAllowed !== true
        if (registerOf(host, cpu.id) !== wanted)
          return `cpu${cpu.id}: TEST_CTRL[29] = ${wanted ? 0 : 1}, and ${cpu.current?.comm ?? 'idle'} has flag ${wanted ? 0 : 1}`
      }
      return null
    },
  }
}

/** A vCPU's thread that is not in its guest has its own setting: detection on, as these threads take no split lock. SLD-57, SLD-60. */
export function threadKeepsItsOwn(host: VcpuHost): Invariant {
  return {
    id: 'own-split-lock-setting',
    name: 'a thread has its own setting while its guest is not loaded [SLD-57, SLD-60]',
    check: () => {
      for (const { vcpu, task } of host.vcpus) {
        if (vcpu.splitLock?.loaded === false && task.splitLockAllowed)
          return `${task.comm}: its guest is not loaded, and detection is off for the thread`
      }
      return null
    },
  }
}

/** I2: a guest's setting is loaded only where its thread is the current one. SLD-54. */
export function loadedOnlyWhereCurrent(host: VcpuHost): Invariant {
  return {
    id: 'loaded-only-where-current',
    name: 'a guest is loaded only while its thread is on a processor [SLD-54]',
    check: () => {
      for (const { vcpu, task } of host.vcpus)
        if (vcpu.splitLock?.loaded === true && task.cpu === null) return `${task.comm}: scheduled out with its guest loaded`
      return null
    },
  }
}

function* setMsrsThenRun(host: VcpuHost, vcpu: ModelVcpu, msrs: number): Preemptible<void> {
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_SET_MSRS', msrs)
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_RUN')
}

function describe(host: VcpuHost): Values {
  const values = ({ id, current }: HostCpu) => ({
    task: current?.comm ?? 'idle',
    'TEST_CTRL[29]': Number(registerOf(host, id)),
    flag: Number(current?.splitLockAllowed ?? false),
  })
  return Object.fromEntries(host.host.kernel.cpus.map((cpu) => [`cpu${cpu.id}`, values(cpu)]))
}
