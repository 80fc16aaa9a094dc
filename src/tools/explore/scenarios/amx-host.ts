import { XFEATURE_MASK_XTILE_DATA, XFEATURE_XTILE_DATA } from '../../../isa/xfeatures.ts'
import { kernelSize } from '../../../linux/fpu/config.ts'
import { disownRegisters } from '../../../linux/fpu/register-owner.ts'
import { loadForUser } from '../../../linux/fpu/registers.ts'
import type { FpuThread } from '../../../linux/fpu/thread-fpu.ts'
import { handleXfdFault } from '../../../linux/fpu/xfd-fault.ts'
import { onEachProcessor, PREEMPTION_POINT, type Preemptible, withPreemptionDisabled } from '../../../linux/preemption.ts'
import type { HostCpu, PinnedProcessor } from '../../../linux/processor.ts'
import type { Task } from '../../../linux/task.ts'
import { PKRU, XFD_ERR } from '../../../machine/memory-map.ts'
import type { VcpuFd } from '../../../vmm/vcpu-fd.ts'
import type { HostModel, Invariant } from '../host-system.ts'
import type { RegisterMarks } from '../register-marks.ts'
import type { Values } from '../system.ts'
import { type ModelVcpu, VcpuHost } from '../vcpu-host.ts'
import { watch } from '../watch.ts'

/** What scenarios of extended state share: guests and a program with AMX on two processors, and what must hold for them. */

/** A mistake in the handling of extended state, put back by replacing one function or one look at a field. */
export interface XstateVariant {
  readonly name: string
  readonly mistake: string
  readonly source: string
  /** The mistake is one of this design. */
  readonly kernel?: string
  /** Preemptions that it takes. */
  readonly bound?: number
  readonly apply: (host: AmxHost) => void
}

export interface XstateOptions {
  readonly kernel: string
  readonly decoder: WebAssembly.Module
  readonly variant?: XstateVariant
}

/** XCR0 with everything that the processor model has and KVM offers. */
const ALL_XCR0 = 0x602e7n
const WATCHED_FPU = ['needLoad', 'lastCpu', 'fpstate', 'taskFpstate']

/** A program on a processor of its own, beside the vCPUs. */
export interface UserProgram {
  readonly task: Task
  readonly marks: RegisterMarks
  readonly progress: { wrong: string }
}

export interface AmxHost extends VcpuHost {
  readonly program: UserProgram
  /** How often each vCPU is loaded. */
  readonly loads: readonly { count: number }[]
}

/** @param guests one list of events a vCPU @param prepare what the VMM does with each vCPU before; default: XCR0 with everything */
export function amxHost(
  { kernel, decoder }: XstateOptions,
  guests: ConstructorParameters<typeof VcpuHost>[0]['guests'],
  { threads = 0, prepare = (fd: VcpuFd) => fd.setXcr0(ALL_XCR0) } = {},
): AmxHost {
  const host = new VcpuHost({
    kernel,
    cpu: 'SapphireRapids',
    decoder,
    guests,
    threads,
    others: 1,
    permit: (process) => process.archPrctl.reqXcompGuestPerm(XFEATURE_XTILE_DATA),
    prepare,
    prepareOther: (process) => process.archPrctl.reqXcompPerm(XFEATURE_XTILE_DATA),
  })
  for (const [i, { fpu }] of host.allTasks.entries()) watch(host.recorder, fpu, `fpu${i}`, ...WATCHED_FPU)
  for (const [i, { vcpu }] of host.vcpus.entries()) {
    const guestFpu = vcpu.guestFpu as unknown as { fpstate: object }
    watch(host.recorder, guestFpu, `guest${i}`, 'xfdErr', 'fpstate')
    watch(host.recorder, guestFpu.fpstate, `image${i}`, 'xfd', 'inUse')
    watch(host.recorder, vcpu, `vcpu${i}`, 'mutexOwner')
  }
  const task = host.tasks.at(-1)!
  const loads = host.vcpus.map(countLoads)
  return Object.assign(host, { loads, program: { task, marks: host.newMarks(task.fpu.pkru), progress: { wrong: '' } } })
}

/** Where tasks begin and may run. Nobody's registers are loaded. */
export function place(host: VcpuHost, ...tasks: readonly (readonly [task: Task, affinity: number, cpu: number])[]): void {
  for (const [task, affinity, cpu] of tasks) {
    task.affinity = affinity
    task.cpuId = cpu
  }
  onEachProcessor(host.host.kernel, disownRegisters)
}

/** The rest of a model from its tasks. */
export function amxModel(host: AmxHost, model: Pick<HostModel, 'actors' | 'migrations' | 'interrupts'>): HostModel {
  const { program } = host
  for (const { name, task } of model.actors) task.comm = name
  return {
    ...model,
    kernel: host.host.kernel,
    recorder: host.recorder,
    invariants: xstateInvariants(host),
    objects: [...host.objects, ...host.loads, program.marks.left, program.progress],
    memory: host.memory,
    describe: () => describe(host),
  }
}

// ---- the program ----

/** Writes its registers and a tile, and looks at what it wrote before, `rounds` times. */
export function* runProgram({ program: { task, marks, progress } }: AmxHost, rounds = 1): Preemptible<void> {
  for (let i = 0; i < rounds; i++) {
    yield PREEMPTION_POINT
    withPreemptionDisabled(task, (cpu) => {
      toUser(cpu, task, marks, progress)
      marks.writeRegisters(cpu)
    })
    yield PREEMPTION_POINT
    while (!withPreemptionDisabled(task, (cpu) => writesTile(cpu, task, marks, progress))) yield PREEMPTION_POINT
  }
  yield PREEMPTION_POINT
  withPreemptionDisabled(task, (cpu) => toUser(cpu, task, marks, progress))
}

/** Return to user mode: registers are loaded, if they are not (PERM-41). */
function toUser(cpu: PinnedProcessor, task: Task, marks: RegisterMarks, progress: { wrong: string }): void {
  if (task.fpu.needLoad) loadForUser(task.fpu, cpu)
  marks.mustHold(cpu, progress)
}

/** False: #NM came instead and has been dealt with (PERM-36, -37). */
function writesTile(cpu: PinnedProcessor, task: Task, marks: RegisterMarks, progress: { wrong: string }): boolean {
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

// ---- what must hold ----

function xstateInvariants(host: AmxHost): Invariant[] {
  return [
    {
      id: 'state-not-visible',
      name: 'who runs finds the extended state it left [PERM-41, GFPU-12]',
      check: () => {
        for (const { script, task } of host.vcpus)
          if (script.progress.wrong !== '') return `guest of ${task.comm}: ${script.progress.wrong}`
        const { wrong } = host.program.progress
        return wrong === '' ? null : `task: ${wrong}`
      },
    },
    ...registerInvariants(host),
    pkruOfHost(host),
    loadedOnce(host),
    noRequestPending(host),
  ]
}

/** About the registers of the task on each processor, where they count as loaded. */
function registerInvariants(host: AmxHost): Invariant[] {
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
      id: 'own-xfd',
      name: "no task runs with another's IA32_XFD [PERM-34, GFPU-10]",
      check: each((cpu, fpu) => {
        const { xfd } = machine.processors[cpu.id]
        return xfd === fpu.fpstate.xfd ? null : `IA32_XFD = ${hex(xfd)}, its image says ${hex(fpu.fpstate.xfd)}`
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
        return needed <= fpstate.size ? null : `${fpstate.size} bytes, ${hex(fpstate.xfeatures)} needs ${needed}`
      }),
    },
    {
      id: 'xfd-err-not-left-to-host',
      name: 'IA32_XFD_ERR of a guest is not left to the host [GFPU-31]',
      check: () => {
        for (const { id } of kernel.cpus) {
          const error = machine.processors[id].registerFile32(XFD_ERR)
          if (error !== 0) return `cpu${id}: IA32_XFD_ERR = ${hex(error)}`
        }
        return null
      },
    },
  ]
}

/** Outside a guest a processor has PKRU of the task on it, whatever guest that task runs. GFPU-17, GFPU-19. */
function pkruOfHost(host: AmxHost): Invariant {
  const { kernel, machine } = host.host
  const { program } = host
  const ofVmm = host.vcpus[0].task.fpu.pkru
  return {
    id: 'pkru-not-mixed',
    name: "outside its guest a thread has its own PKRU, and never a guest's [GFPU-17, GFPU-19]",
    check: () => {
      for (const { id, current } of kernel.cpus) {
        if (current === null) continue
        const wanted = current === program.task ? program.marks.left.pkru! : ofVmm
        const pkru = machine.processors[id].registerFile32(PKRU) >>> 0
        if (pkru !== wanted) return `cpu${id}, ${current.comm}: PKRU = ${hex(pkru)}, its own is ${hex(wanted)}`
      }
      return null
    },
  }
}

/** vcpu_load() without vcpu_put(), also when the scheduler does them. */
function loadedOnce(host: AmxHost): Invariant {
  const { loads } = host
  return {
    id: 'vcpu-loaded-once',
    name: 'at most one processor has a vCPU loaded [SLD-61]',
    check: () => {
      const twice = loads.findIndex(({ count }) => count > 1)
      return twice < 0 ? null : `vcpu_load() of ${host.vcpus[twice].task.comm}'s vCPU while it is loaded already`
    },
  }
}

function countLoads({ vcpu }: ModelVcpu): { count: number } {
  const loads = { count: 0 }
  const { residency } = vcpu
  const arrive = residency.arrive.bind(residency)
  const depart = residency.depart.bind(residency)
  residency.arrive = () => {
    loads.count++
    arrive()
  }
  residency.depart = () => {
    loads.count--
    depart()
  }
  return loads
}

/** Design D1 leaves requests, and warns of it itself. */
function noRequestPending(host: AmxHost): Invariant {
  const { kernel } = host.host
  return {
    id: 'room-before-entry',
    name: 'no guest is entered while a request for room in its image is pending [GFPU-35]',
    check: () => kernel.log.lines.find((line) => line.includes('fpu_guest_realloc_fpstate')) ?? null,
  }
}

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

function describe(host: AmxHost): Values {
  const { kernel, machine } = host.host
  const values = ({ id, current, fpuOwner }: HostCpu) => ({
    task: current?.comm ?? 'idle',
    // NEED_FPU_LOAD
    loaded: current === null ? '' : current.fpu.needLoad ? 'no' : 'yes',
    XFD: hex(machine.processors[id].xfd),
    XFD_ERR: hex(machine.processors[id].registerFile32(XFD_ERR)),
    owner: host.allTasks.find(({ fpu }) => fpu === fpuOwner)?.comm ?? 'nobody',
  })
  return Object.fromEntries(kernel.cpus.map((cpu) => [`cpu${cpu.id}`, values(cpu)]))
}
