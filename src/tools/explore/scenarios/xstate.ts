import { MSR_IA32_XFD } from '../../../isa/msr-index.ts'
import { XFEATURE_MASK_XTILE_DATA, XFEATURE_XTILE_DATA } from '../../../isa/xfeatures.ts'
import { kernelSize } from '../../../linux/fpu/config.ts'
import { disownRegisters } from '../../../linux/fpu/register-owner.ts'
import { loadForUser } from '../../../linux/fpu/registers.ts'
import type { FpuThread } from '../../../linux/fpu/thread-fpu.ts'
import { handleXfdFault } from '../../../linux/fpu/xfd-fault.ts'
import { onEachProcessor, PREEMPTION_POINT, type Preemptible, withPreemptionDisabled } from '../../../linux/preemption.ts'
import type { HostCpu, PinnedProcessor } from '../../../linux/processor.ts'
import type { Task } from '../../../linux/task.ts'
import { XFD_ERR } from '../../../machine/memory-map.ts'
import type { HostModel, Invariant } from '../host-system.ts'
import type { RegisterMarks } from '../register-marks.ts'
import type { Values } from '../system.ts'
import { argument, type ModelVcpu, msrList, VcpuHost } from '../vcpu-host.ts'
import { watch } from '../watch.ts'

export interface XstateVariant {
  readonly name: string
  readonly mistake: string
  readonly source: string
  readonly apply: (host: VcpuHost) => void
}

export interface XstateOptions {
  readonly kernel: string
  readonly decoder: WebAssembly.Module
  readonly variant?: XstateVariant
}

interface UserProgress {
  wrong: string
}

/** A user program that writes a vector register and a tile, and looks at what it wrote before. */
function* userProgram(task: Task, marks: RegisterMarks, progress: UserProgress, rounds: number): Preemptible<void> {
  for (let i = 0; i < rounds; i++) {
    yield PREEMPTION_POINT
    withPreemptionDisabled(task, (cpu) => {
      toUser(cpu, task, marks, progress)
      marks.writeVector(cpu)
    })
    yield PREEMPTION_POINT
    while (!withPreemptionDisabled(task, (cpu) => writesTile(cpu, task, marks, progress))) yield PREEMPTION_POINT
  }
  yield PREEMPTION_POINT
  withPreemptionDisabled(task, (cpu) => toUser(cpu, task, marks, progress))
}

/** Return to user mode: registers are loaded, if they are not (PERM-41). */
function toUser(cpu: PinnedProcessor, task: Task, marks: RegisterMarks, progress: UserProgress): void {
  if (task.fpu.needLoad) loadForUser(task.fpu, cpu)
  marks.mustHold(cpu, progress)
}

/** False: #NM came instead and has been dealt with (PERM-36, -37). */
function writesTile(cpu: PinnedProcessor, task: Task, marks: RegisterMarks, progress: UserProgress): boolean {
  toUser(cpu, task, marks, progress)
  if ((cpu.processor.xfd & XFEATURE_MASK_XTILE_DATA) === 0) {
    marks.writeTiles(cpu)
    return true
  }
  marks.raiseXfdErr(cpu)
  const outcome = handleXfdFault(cpu, task)
  if (outcome !== 'retry') progress.wrong = `#NM of a program with permission: ${outcome}`
  return false
}

const WATCHED_FPU = ['needLoad', 'lastCpu', 'fpstate', 'taskFpstate']

/**
 * Two guests with AMX and a program with AMX on two processors. The first guest turns IA32_XFD on, takes #NM and turns it off; its
 * thread may come to the other processor and back.
 */
export function xstate({ kernel, decoder, variant }: XstateOptions): HostModel {
  const host = amxHost(kernel, decoder, [
    [
      { kind: 'vector' },
      { kind: 'wrmsr', index: MSR_IA32_XFD, value: XFEATURE_MASK_XTILE_DATA },
      { kind: 'tiles' },
      { kind: 'hlt' },
    ],
    [{ kind: 'tiles' }, { kind: 'hlt' }],
  ])
  const [first, second] = host.vcpus
  const task = host.tasks[0]
  const marks = host.newMarks()
  const progress: UserProgress = { wrong: '' }
  place(host, [first.task, 3, 0], [second.task, 1, 0], [task, 2, 1])
  variant?.apply(host)
  return {
    kernel: host.host.kernel,
    recorder: host.recorder,
    actors: [
      { name: 'vcpu0', task: first.task, body: () => host.ioctl(first, first.task, 'KVM_RUN') },
      { name: 'vcpu1', task: second.task, body: () => host.ioctl(second, second.task, 'KVM_RUN') },
      { name: 'task', task, body: () => userProgram(task, marks, progress, 1) },
    ],
    invariants: xstateInvariants(host, progress),
    objects: [...host.objects, marks.left, progress],
    memory: host.memory,
    migrations: 2,
    describe: () => describe(host),
  }
}

/**
 * The VMM writes IA32_XFD while tile data is in the vCPU's image, and runs it: what a recorded 6.12 kernel oopses at (GFPU-53).
 */
export function hostXfdWrite({ kernel, decoder, variant }: XstateOptions): HostModel {
  const host = amxHost(kernel, decoder, [[{ kind: 'tiles' }, { kind: 'hlt' }, { kind: 'vector' }, { kind: 'hlt' }]])
  const [first] = host.vcpus
  const other = host.tasks[0]
  const marks = host.newMarks()
  const progress: UserProgress = { wrong: '' }
  const msrs = argument(host, msrList(MSR_IA32_XFD, BigInt(XFEATURE_MASK_XTILE_DATA)))
  place(host, [first.task, 1, 0], [other, 2, 1])
  variant?.apply(host)
  return {
    kernel: host.host.kernel,
    recorder: host.recorder,
    actors: [
      { name: 'vcpu0', task: first.task, body: () => runSetRun(host, first, msrs) },
      { name: 'task', task: other, body: () => userProgram(other, marks, progress, 1) },
    ],
    invariants: xstateInvariants(host, progress),
    objects: [...host.objects, marks.left, progress],
    memory: host.memory,
    migrations: 0,
    describe: () => describe(host),
  }
}

function* runSetRun(host: VcpuHost, vcpu: ModelVcpu, msrs: number): Preemptible<void> {
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_RUN')
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_SET_MSRS', msrs)
  yield PREEMPTION_POINT
  yield* host.ioctl(vcpu, vcpu.task, 'KVM_RUN')
}

function amxHost(
  kernel: string,
  decoder: WebAssembly.Module,
  guests: ConstructorParameters<typeof VcpuHost>[0]['guests'],
): VcpuHost {
  const host = new VcpuHost({
    kernel,
    cpu: 'SapphireRapids',
    decoder,
    guests,
    others: 1,
    permit: (process) => process.archPrctl.reqXcompGuestPerm(XFEATURE_XTILE_DATA),
    prepare: (fd) => fd.setXcr0(0x602e7n),
    prepareOther: (process) => process.archPrctl.reqXcompPerm(XFEATURE_XTILE_DATA),
  })
  for (const [i, { fpu }] of host.allTasks.entries()) watch(host.recorder, fpu, `fpu${i}`, ...WATCHED_FPU)
  for (const [i, { vcpu }] of host.vcpus.entries()) {
    const guestFpu = vcpu.guestFpu as unknown as { fpstate: object }
    watch(host.recorder, guestFpu, `guest${i}`, 'xfdErr')
    watch(host.recorder, guestFpu.fpstate, `image${i}`, 'xfd', 'inUse')
    watch(host.recorder, vcpu, `vcpu${i}`, 'mutexOwner')
  }
  return host
}

function place(host: VcpuHost, ...tasks: readonly (readonly [task: Task, affinity: number, cpu: number])[]): void {
  for (const [task, affinity, cpu] of tasks) {
    task.affinity = affinity
    task.cpuId = cpu
  }
  onEachProcessor(host.host.kernel, disownRegisters)
}

function xstateInvariants(host: VcpuHost, progress: UserProgress): Invariant[] {
  const { kernel, machine } = host.host
  const running = (cpu: HostCpu): FpuThread | null => (cpu.current === null || cpu.current.fpu.needLoad ? null : cpu.current.fpu)
  const each = (check: (cpu: HostCpu, fpu: FpuThread) => string | null) => () => {
    for (const cpu of kernel.cpus) {
      const fpu = running(cpu)
      const because = fpu === null ? null : check(cpu, fpu)
      if (because !== null) return `cpu${cpu.id}, ${cpu.current!.comm}: ${because}`
    }
    return null
  }
  return [
    {
      id: 'state-not-visible',
      name: 'who runs finds the extended state it left [PERM-41, GFPU-12]',
      check: () => {
        for (const { script, task } of host.vcpus)
          if (script.progress.wrong !== '') return `guest of ${task.comm}: ${script.progress.wrong}`
        return progress.wrong === '' ? null : `task: ${progress.wrong}`
      },
    },
    {
      id: 'own-xfd',
      name: "no task runs with another's IA32_XFD [PERM-34, GFPU-10]",
      check: each((cpu, fpu) => {
        const { xfd } = machine.processors[cpu.id]
        return xfd === fpu.fpstate.xfd
          ? null
          : `IA32_XFD = 0x${xfd.toString(16)}, its image says 0x${fpu.fpstate.xfd.toString(16)}`
      }),
    },
    {
      id: 'registers-belong-to-owner',
      name: 'registers that are loaded belong to who is noted as their owner [PERM-40]',
      check: each((cpu, fpu) =>
        cpu.fpuOwner === fpu ? null : 'its registers count as loaded, and the processor names another owner',
      ),
    },
    {
      id: 'buffer-covers-features',
      name: 'a buffer has room for the components it is made for [PERM-38, GFPU-39]',
      check: each((_cpu, { fpstate, config }) => {
        const needed = kernelSize(config, fpstate.xfeatures)
        return needed <= fpstate.size ? null : `${fpstate.size} bytes, 0x${fpstate.xfeatures.toString(16)} needs ${needed}`
      }),
    },
    {
      id: 'xfd-err-not-left-to-host',
      name: 'IA32_XFD_ERR of a guest is not left to the host [GFPU-31]',
      check: () => {
        for (const { id } of kernel.cpus) {
          const error = machine.processors[id].registerFile32(XFD_ERR)
          if (error !== 0) return `cpu${id}: IA32_XFD_ERR = 0x${error.toString(16)}`
        }
        return null
      },
    },
  ]
}

function describe(host: VcpuHost): Values {
  const { kernel, machine } = host.host
  const values = ({ id, current, fpuOwner }: HostCpu) => ({
    task: current?.comm ?? 'idle',
    // NEED_FPU_LOAD
    loaded: current === null ? '' : current.fpu.needLoad ? 'no' : 'yes',
    XFD: `0x${machine.processors[id].xfd.toString(16)}`,
    XFD_ERR: `0x${machine.processors[id].registerFile32(XFD_ERR).toString(16)}`,
    owner: host.allTasks.find(({ fpu }) => fpu === fpuOwner)?.comm ?? 'nobody',
  })
  return Object.fromEntries(kernel.cpus.map((cpu) => [`cpu${cpu.id}`, values(cpu)]))
}
