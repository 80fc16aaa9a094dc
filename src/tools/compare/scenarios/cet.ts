import { HLT, makeVmm, out } from '../guest.ts'
import type { CompareScenario } from '../scenario.ts'

/** Where PL0_SSP to PL2_SSP of a guest live: "Make guest supervisor states as non-XSAVE managed", August 2023. */
const DOCUMENT = 'CET supervisor state (Hansen and Yang, August 2023)'
const K = 'proposal:cet-s-kernel-wide'
const M = 'proposal:cet-s-kvm-managed'
const LAZY = 'proposal:cet-s-kvm-managed-lazy'
const G = 'linux-6.18'
const DESIGNS = [K, M, LAZY, G]
/** A client processor without AMX: the 24 bytes of CET_S find no hole there (CET-46). */
const CLIENT = 'SapphireRapids,-avx512f,-amx-tile,-enqcmd'
const SPR = 'SapphireRapids'
const MSR_IA32_PL0_SSP = 0x6a4
const IDLE_TASKS = 1000
const RUNS = 100

export const cetScenarios: readonly CompareScenario[] = [
  {
    name: 'supervisor-shadow-stack',
    title: 'a guest with PL0_SSP set: what a KVM_RUN costs under each design, and what is left for others',
    document: DOCUMENT,
    profiles: DESIGNS,
    cpu: CLIENT,
    run: (lab) => {
      const host = lab.host()
      // A loop of CPUID and HLT: an exit that KVM handles itself, then one to user space.
      const { vcpu } = makeVmm(host, { code: [0x0f, 0xa2, 0xf4, 0xeb, 0xfb] })
      lab.step('KVM_SET_MSRS IA32_PL0_SSP', () => vcpu.writeMsr(MSR_IA32_PL0_SSP, 0xffffc90000000ff8n))
      lab.note('bytes of the vCPU', host.costs.snapshot().vcpus[0])
      lab.note('bytes of the task', host.costs.snapshot().tasks[0])
      lab.cost(
        'per KVM_RUN',
        host.costs,
        () => {
          for (let i = 0; i < RUNS; i++) vcpu.run()
        },
        ({ msrs, xsave, xrstor, worldSwitches }) => {
          const ssp = [msrs.IA32_PL0_SSP, msrs.IA32_PL1_SSP, msrs.IA32_PL2_SSP]
          return {
            'RDMSR of PL0..2_SSP': ssp.reduce((sum, { reads }) => sum + reads, 0),
            'WRMSR of PL0..2_SSP': ssp.reduce((sum, { writes }) => sum + writes, 0),
            'XSAVES bytes': xsave.bytes,
            'XRSTORS bytes': xrstor.bytes,
            'world switches': worldSwitches,
          }
        },
        RUNS,
      )
      lab.step('KVM_GET_MSRS IA32_PL0_SSP', () => vcpu.readMsr(MSR_IA32_PL0_SSP))
      lab.note('IA32_PL0_SSP on the processor afterwards', host.kernel.cpus[0].processor.rdmsr(MSR_IA32_PL0_SSP))
    },
  },
  {
    name: 'idle-tasks',
    title: `${IDLE_TASKS} idle tasks and one vCPU: memory of each design`,
    document: DOCUMENT,
    profiles: DESIGNS,
    cpu: CLIENT,
    run: (lab) => {
      const host = lab.host({ memory: 96 << 20 })
      const { vcpu } = makeVmm(host, { code: [...out(0x80, 1), ...HLT] })
      const before = host.costs.snapshot().buffers.liveBytes
      for (let i = 0; i < IDLE_TASKS; i++) host.newProcess('idle')
      const { buffers, vcpus } = host.costs.snapshot()
      lab.note(`bytes of ${IDLE_TASKS} tasks`, buffers.liveBytes - before)
      lab.note('bytes of the vCPU', vcpus[0])
      lab.step('KVM_RUN', () => vcpu.run({ maxInstructions: 10 }).reason)
    },
  },
  {
    name: 'alignment-hole',
    title: 'the same on Sapphire Rapids, where the bytes of CET_S fall into a hole before the tiles',
    document: DOCUMENT,
    profiles: DESIGNS,
    cpu: SPR,
    run: (lab) => {
      const host = lab.host()
      makeVmm(host, { amx: true })
      const { tasks, vcpus } = host.costs.snapshot()
      lab.note('bytes of a task', tasks[0].embedded)
      lab.note('bytes of a vCPU', vcpus[0])
    },
  },
]
