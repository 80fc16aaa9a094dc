import { MSR_IA32_XFD } from '../../../isa/msr-index.ts'
import { XFEATURE_MASK_XTILE_DATA } from '../../../isa/xfeatures.ts'
import { KVM_EXIT_HLT } from '../../../kvm/abi/exit-reasons.ts'
import { PREEMPTION_POINT, type Preemptible } from '../../../linux/preemption.ts'
import type { Task } from '../../../linux/task.ts'
import type { Actor, HostModel } from '../host-system.ts'
import { argument, type ModelVcpu, msrList, type VcpuHost } from '../vcpu-host.ts'
import { type AmxHost, amxHost, amxModel, place, runProgram, type XstateOptions } from './amx-host.ts'

type Body = (vcpu: ModelVcpu) => Preemptible<unknown>

/**
 * Both vCPUs on cpu0, where the first one's thread may leave for cpu1, and the program on cpu1. With the mistake.
 * @param first what the first vCPU's thread does; it and the second's call KVM_RUN once unless told otherwise
 */
function vcpusAndProgram(host: AmxHost, { variant }: XstateOptions, first?: Body, second?: Body): Actor[] {
  const [one, other] = host.vcpus
  const { task } = host.program
  const run: Body = (vcpu) => host.ioctl(vcpu, vcpu.task, 'KVM_RUN')
  place(host, [one.task, 3, 0], [other.task, 1, 0], [task, 2, 1])
  variant?.apply(host)
  return [
    { name: 'vcpu0', task: one.task, body: () => (first ?? run)(one) },
    { name: 'vcpu1', task: other.task, body: () => (second ?? run)(other) },
    { name: 'task', task, body: () => runProgram(host) },
  ]
}

/**
 * Two guests with AMX and a program with AMX on two processors. The first guest turns IA32_XFD on, takes #NM and turns it off; its
 * thread may come to the other processor and back.
 */
export function xstate(options: XstateOptions): HostModel {
  const host = amxHost(options, [
    [
      { kind: 'registers' },
      { kind: 'wrmsr', index: MSR_IA32_XFD, value: XFEATURE_MASK_XTILE_DATA },
      { kind: 'tiles' },
      { kind: 'hlt' },
    ],
    [{ kind: 'tiles' }, { kind: 'hlt' }],
  ])
  return amxModel(host, {
    actors: vcpusAndProgram(host, options),
    migrations: 2,
  })
}

/**
 * The same registers, and an interrupt that may come anywhere once: its handler uses vector registers, as the kernel's own
 * cryptography does.
 */
export function kernelFpu(options: XstateOptions): HostModel {
  const host = amxHost(options, [
    [{ kind: 'registers' }, { kind: 'tiles' }, { kind: 'hlt' }],
    [{ kind: 'registers' }, { kind: 'hlt' }],
  ])
  return amxModel(host, {
    actors: vcpusAndProgram(host, options),
    migrations: 1,
    interrupts: { count: 1, handler: (cpu) => host.interrupt(cpu) },
  })
}

/**
 * The VMM writes IA32_XFD while tile data is in the vCPU's image, and runs it: what a recorded 6.12 kernel oopses at (GFPU-53).
 */
export function hostXfdWrite(options: XstateOptions): HostModel {
  const host = amxHost(options, [
    [{ kind: 'tiles' }, { kind: 'hlt' }, { kind: 'registers' }, { kind: 'hlt' }],
    [{ kind: 'registers' }, { kind: 'hlt' }],
  ])
  const msrs = argument(host, msrList(MSR_IA32_XFD, BigInt(XFEATURE_MASK_XTILE_DATA)))
  return amxModel(host, {
    actors: vcpusAndProgram(host, options, (vcpu) => runSetRun(host, vcpu, msrs)),
    migrations: 1,
  })
}

function* runSetRun(host: VcpuHost, vcpu: ModelVcpu, msrs: number): Preemptible<void> {
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_RUN')
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_SET_MSRS', msrs)
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_RUN')
}

/**
 * Room for tile data is made when it is asked for: by the VMM, which writes IA32_XFD = 0 before the first KVM_RUN of one vCPU, and
 * by the guest of the other. GFPU §5, designs D1 and D2.
 */
export function reallocation(options: XstateOptions): HostModel {
  const host = amxHost(
    options,
    [
      [{ kind: 'registers' }, { kind: 'tiles' }, { kind: 'hlt' }],
      [{ kind: 'registers' }, { kind: 'wrmsr', index: MSR_IA32_XFD, value: 0 }, { kind: 'tiles' }, { kind: 'hlt' }],
    ],
    {
      prepare: (fd) => {
        // Nothing is asked for yet: tile data is enabled and disarmed.
        fd.writeMsr(MSR_IA32_XFD, BigInt(XFEATURE_MASK_XTILE_DATA))
        fd.setXcr0(0x602e7n)
      },
    },
  )
  const msrs = argument(host, msrList(MSR_IA32_XFD, 0n))
  return amxModel(host, {
    actors: vcpusAndProgram(
      host,
      options,
      (vcpu) => setThenRun(host, vcpu, msrs),
      (vcpu) => runToHlt(host, vcpu, vcpu.task),
    ),
    migrations: 1,
  })
}

function* setThenRun(host: VcpuHost, vcpu: ModelVcpu, msrs: number): Preemptible<void> {
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_SET_MSRS', msrs)
  yield PREEMPTION_POINT
  yield* runToHlt(host, vcpu, vcpu.task)
}

/** KVM_RUN until the guest halts, or KVM_RUN fails. */
function* runToHlt(host: VcpuHost, vcpu: ModelVcpu, thread: Task): Preemptible<void> {
  while ((yield* host.ioctl(vcpu, thread, 'KVM_RUN')) === 0) {
    if (vcpu.vcpu.run.exitReason === KVM_EXIT_HLT) return
    yield PREEMPTION_POINT
  }
}

/** Two threads of the VMM use one vCPU: one runs it, the other writes an MSR and then runs it too. SLD-61, KAPI-04. */
export function sharedVcpu(options: XstateOptions): HostModel {
  const host = amxHost(
    options,
    [
      [{ kind: 'registers' }, { kind: 'hlt' }, { kind: 'registers' }, { kind: 'hlt' }],
      [{ kind: 'registers' }, { kind: 'hlt' }],
    ],
    { threads: 1 },
  )
  const [first, second] = host.vcpus
  const [other] = host.tasks
  const msrs = argument(host, msrList(MSR_IA32_XFD, 0n))
  place(host, [first.task, 3, 0], [second.task, 1, 0], [other, 2, 1])
  options.variant?.apply(host)
  return amxModel(host, {
    actors: [
      { name: 'vcpu0', task: first.task, body: () => host.ioctl(first, first.task, 'KVM_RUN') },
      { name: 'vcpu1', task: second.task, body: () => host.ioctl(second, second.task, 'KVM_RUN') },
      { name: 'other', task: other, body: () => setThenRunFrom(host, first, other, msrs) },
    ],
    migrations: 1,
  })
}

function* setThenRunFrom(host: VcpuHost, vcpu: ModelVcpu, thread: Task, msrs: number): Preemptible<void> {
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, thread, 'KVM_SET_MSRS', msrs)
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, thread, 'KVM_RUN')
}
