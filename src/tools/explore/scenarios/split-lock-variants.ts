import { MSR_TEST_CTRL } from '../../../isa/msr-index.ts'
import type { GuestSplitLock } from '../../../kvm/vcpu/split-lock.ts'
import { PREEMPTION_POINT, type Preemptible, withPreemptionDisabled } from '../../../linux/preemption.ts'
import type { HostCpu, PinnedProcessor } from '../../../linux/processor.ts'
import { setDetection } from '../../../linux/splitlock/test-ctrl.ts'
import { isDetectionOffFor } from '../../../linux/splitlock/thread-flag.ts'
import type { Task } from '../../../linux/task.ts'
import type { ModelVcpu, VcpuHost } from '../vcpu-host.ts'

/**
 * Mistakes put back into the good code: each replaces one function of a vCPU's split-lock state or of a processor with what it
 * would be with the mistake. SLD-58.
 */
export interface SplitLockVariant {
  readonly name: string
  /** What is wrong, in one line. */
  readonly mistake: string
  readonly source: string
  readonly apply: (host: VcpuHost) => void
}

const isOn = (task: Task): boolean => !isDetectionOffFor(task)
/** The kernel's types refuse what these mistakes do: the flag by itself, or on its own time. */
const flagOf = (task: Task): { splitLockAllowed: boolean } => task
const setFlag = (cpu: HostCpu, on: boolean): void => {
  flagOf(cpu.current!).splitLockAllowed = !on
}

/** Replaces what changes register and flag in `load` and `put`; the rest of the protocol is as it was. */
function replaceSwitch(host: VcpuHost, change: (cpu: PinnedProcessor, on: boolean, isPut: boolean) => void): void {
  for (const { vcpu } of host.vcpus) {
    const splitLock = vcpu.splitLock!
    const guarded = (cpu: PinnedProcessor, on: boolean, isPut: boolean) => {
      if (isOn(cpu.current!) !== on) change(cpu, on, isPut)
    }
    override(splitLock, {
      load(cpu) {
        if (splitLock.loaded) return
        splitLock.hostDetection = isOn(cpu.current!)
        splitLock.loaded = true
        guarded(cpu, splitLock.guestDetects, false)
      },
      put(cpu) {
        if (!splitLock.loaded) return
        guarded(cpu, splitLock.hostDetection, true)
        splitLock.loaded = false
      },
      propagate(cpu) {
        if (splitLock.loaded) guarded(cpu, splitLock.guestDetects, false)
      },
    })
  }
}

type Protocol = Partial<Pick<GuestSplitLock, 'load' | 'put' | 'propagate'>>
function override(splitLock: GuestSplitLock, methods: Protocol): void {
  for (const [name, value] of Object.entries(methods)) Object.defineProperty(splitLock, name, { value, configurable: true })
}

/** Runs `work` in the vCPU's thread before each entry for which `wanted` holds, where it can be preempted. */
function beforeEntries({ vcpu }: ModelVcpu, wanted: () => boolean, work: (task: Task) => Preemptible<void>): void {
  let own: Preemptible<void> | null = null
  Object.defineProperty(vcpu, 'beforeEntry', {
    configurable: true,
    get: () => own ?? (vcpu.runner !== null && wanted() ? work(vcpu.runner) : null),
    set: (value: Preemptible<void> | null) => {
      own = value
    },
  })
}

export const splitLockVariants: readonly SplitLockVariant[] = [
  {
    name: 'preemptible-update',
    mistake: 'B1: register and flag are written with preemption enabled between them',
    source: 'SLD-58 B1; the review: flag and MSR changed where the thread can be preempted',
    apply: (host) => {
      for (const each of host.vcpus) {
        const splitLock = each.vcpu.splitLock!
        override(splitLock, { load: () => {} })
        beforeEntries(
          each,
          () => !splitLock.loaded,
          function* (task) {
            splitLock.hostDetection = isOn(task)
            splitLock.loaded = true
            if (isOn(task) === splitLock.guestDetects) return
            withPreemptionDisabled(task, setDetection, splitLock.guestDetects)
            yield PREEMPTION_POINT
            flagOf(task).splitLockAllowed = !splitLock.guestDetects
          },
        )
      }
    },
  },
  {
    name: 'register-without-flag',
    mistake: 'B2: the register is written and the flag is not',
    source: 'SLD-58 B2',
    apply: (host) => replaceSwitch(host, (cpu, on) => setDetection(cpu, on)),
  },
  {
    name: 'flag-without-register',
    mistake: 'B3: the flag is written and the register is not',
    source: 'SLD-58 B3',
    apply: (host) => replaceSwitch(host, (cpu, on) => setFlag(cpu, on)),
  },
  {
    name: 'ioctl-propagates',
    mistake: 'B4: KVM_SET_MSRS reaches the processor although the guest is not loaded',
    source: 'SLD-58 B4; the review: MSR written from the ioctl without checking that the guest is loaded',
    apply: (host) => {
      for (const { vcpu } of host.vcpus) {
        const splitLock = vcpu.splitLock!
        override(splitLock, {
          propagate(cpu) {
            if (isOn(cpu.current!) === splitLock.guestDetects) return
            setDetection(cpu, splitLock.guestDetects)
            setFlag(cpu, splitLock.guestDetects)
          },
        })
      }
    },
  },
  {
    name: 'loaded-tested-preemptibly',
    mistake: 'B5: whether the guest is loaded is tested with preemption enabled, and acted on later',
    source: 'SLD-58 B5',
    apply: (host) => {
      for (const each of host.vcpus) {
        const splitLock = each.vcpu.splitLock!
        override(splitLock, {
          propagate() {
            if (!splitLock.loaded) return
            const { vcpu } = each
            vcpu.beforeEntry = (function* (): Preemptible<void> {
              yield PREEMPTION_POINT
              withPreemptionDisabled(vcpu.runner!, (cpu) => {
                if (isOn(cpu.current!) === splitLock.guestDetects) return
                setDetection(cpu, splitLock.guestDetects)
                setFlag(cpu, splitLock.guestDetects)
              })
            })()
          },
        })
      }
    },
  },
  {
    name: 'snapshot-while-loaded',
    mistake: "B6: the host's setting is noted again while the guest's is loaded",
    source: 'SLD-58 B6, SLD-57',
    apply: (host) => {
      for (const { vcpu } of host.vcpus) {
        const splitLock = vcpu.splitLock!
        const { load } = splitLock
        override(splitLock, {
          load(cpu) {
            if (splitLock.loaded) splitLock.hostDetection = isOn(cpu.current!)
            else load.call(splitLock, cpu)
          },
        })
      }
    },
  },
  {
    name: 'restore-on-old-processor',
    mistake: 'B7: the setting is restored on the processor where it was loaded, wherever the thread is by then',
    source: 'SLD-58 B7',
    apply: (host) => {
      for (const { vcpu, task } of host.vcpus) {
        const splitLock = vcpu.splitLock!
        const where = { cpu: null as PinnedProcessor | null }
        host.also(where)
        const { load } = splitLock
        override(splitLock, {
          load(cpu) {
            if (!splitLock.loaded) where.cpu = cpu
            load.call(splitLock, cpu)
          },
          put() {
            // No notifier: only vcpu_put unloads.
            if (!splitLock.loaded || vcpu.runner === null || task.activity === null || !host.isPutting(vcpu)) return
            if (isOn(task) !== splitLock.hostDetection) {
              setDetection(where.cpu!, splitLock.hostDetection)
              flagOf(task).splitLockAllowed = !splitLock.hostDetection
            }
            splitLock.loaded = false
          },
        })
      }
    },
  },
  {
    name: 'flags-equal-register-wrong',
    mistake: 'B8: a wrong register stays wrong while flagged tasks follow each other',
    source: 'SLD-58 B8, SLD-27',
    apply: (host) => {
      flagOf(host.tasks[0]).splitLockAllowed = true
      replaceSwitch(host, (cpu, on) => setFlag(cpu, on))
    },
  },
  {
    name: 'shared-register',
    mistake: 'B9: both processors are threads of one core and share the register',
    source: 'SLD-58 B9, SLD-06, SLD-44',
    apply: (host) => {
      const [one, other] = host.host.machine.processors
      for (const [own, sibling] of [
        [one, other],
        [other, one],
      ]) {
        const wrmsr = own.wrmsr.bind(own)
        const mirror = sibling.wrmsr.bind(sibling)
        Object.assign(own, {
          wrmsr: (index: number, value: bigint) => {
            if (index === MSR_TEST_CTRL) mirror(index, value)
            return wrmsr(index, value)
          },
        })
      }
    },
  },
  {
    name: 'flag-inverted',
    mistake: 'the flag is stored inverted where the guest is loaded',
    source: 'the review: one side keeps "on", the other "off"; SLD-30',
    apply: (host) =>
      replaceSwitch(host, (cpu, on, isPut) => {
        setDetection(cpu, on)
        setFlag(cpu, isPut ? on : !on)
      }),
  },
  {
    name: 'no-restore',
    mistake: 'vcpu_put restores nothing',
    source: 'SLD §6: prepare_switch_to_host left out',
    apply: (host) => {
      for (const { vcpu } of host.vcpus) {
        const splitLock = vcpu.splitLock!
        override(splitLock, {
          put() {
            splitLock.loaded = false
          },
        })
      }
    },
  },
]
