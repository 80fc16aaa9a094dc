import { XFEATURE_MASK_PKRU } from '../../../isa/xfeatures.ts'
import { guestXfd, setGuestXfdErr } from '../../../linux/fpu/door.ts'
import type { HostProcessor } from '../../../linux/hardware.ts'
import { PREEMPTION_POINT, type Preemptible, withPreemptionDisabled } from '../../../linux/preemption.ts'
import type { VcpuHost } from '../vcpu-host.ts'
import type { XstateVariant } from './amx-host.ts'

/** Replaces methods of every processor; the rest of it is as it was. */
function replace(host: VcpuHost, methods: (processor: HostProcessor) => Partial<HostProcessor>): void {
  for (const processor of host.host.machine.processors) Object.assign(processor, methods(processor))
}

/** Found by a preemption, and by an interrupt whose handler uses the FPU. */
const noReload = (source: string): XstateVariant => ({
  name: 'no-reload-before-entry',
  mistake: 'a guest is entered without a look at whether its registers are still in the processor',
  source,
  apply: skipReload,
})
/** KVM once looked when its thread is scheduled in and no more: e751732486eb; 2620fe268e80 went back for softirqs that come after that. */
const REVERTED =
  'GFPU-13; KVM between "KVM: X86: Fix fpu state crash in kvm guest" (e751732486eb) and its revert (2620fe268e80): a softirq that uses the FPU'

export const xstateVariants: readonly XstateVariant[] = [
  {
    name: 'stale-owner',
    mistake: 'registers count as valid by their owner alone, wherever it ran since',
    source: 'PERM-40: owner and last processor must both agree',
    bound: 2,
    apply: (host) => {
      for (const task of host.allTasks) {
        Object.defineProperty(task.fpu, 'lastCpu', { configurable: true, get: () => task.cpu?.id ?? -1, set: () => {} })
      }
    },
  },
  {
    name: 'xfd-after-restore',
    mistake: 'IA32_XFD is written after XRSTORS instead of before',
    source: 'PERM-34: XFD is updated immediately before every restore',
    apply: (host) => {
      const late = { pending: [-1, -1] }
      host.also(late)
      replace(host, (processor) => {
        const wrmsrXfd = processor.wrmsrXfd.bind(processor)
        const xrstor = processor.xrstor.bind(processor)
        return {
          wrmsrXfd: (value) => {
            late.pending[processor.id] = value
          },
          xrstor: (form, image, rfbm) => {
            const vector = xrstor(form, image, rfbm)
            if (late.pending[processor.id] >= 0) wrmsrXfd(late.pending[processor.id])
            late.pending[processor.id] = -1
            return vector
          },
        }
      })
    },
  },
  {
    name: 'xfd-not-switched',
    mistake: 'IA32_XFD stays what the task before had',
    source: 'PERM-33, PERM-34, GFPU-10',
    apply: (host) => replace(host, () => ({ wrmsrXfd: () => {} })),
  },
  {
    name: 'xfd-err-read-late',
    mistake: 'the XFD_ERR of a guest is read after interrupts and preemption are on again',
    source: 'GFPU-30: read before IRQs are enabled',
    apply: (host) => {
      const late = { reads: false }
      host.also(late)
      replace(host, (processor) => {
        const readXfdErr = processor.readXfdErr.bind(processor)
        return { readXfdErr: () => (late.reads || !isWorldSwitch(host, processor) ? readXfdErr() : 0) }
      })
      for (const { vcpu } of host.vcpus) {
        const missed = { now: false }
        host.also(missed)
        host.afterNm(vcpu, () => {
          missed.now = true
        })
        let own: Preemptible<void> | null = null
        Object.defineProperty(vcpu, 'beforeEntry', {
          configurable: true,
          get: () => {
            if (!missed.now || guestXfd(vcpu.guestFpu) === 0) return own
            return (function* (): Preemptible<void> {
              missed.now = false
              yield PREEMPTION_POINT
              withPreemptionDisabled(vcpu.runner!, ({ processor }) => {
                late.reads = true
                setGuestXfdErr(vcpu.guestFpu, processor.readXfdErr())
                late.reads = false
                processor.writeXfdErr(0)
              })
            })()
          },
          set: (value: Preemptible<void> | null) => {
            own = value
          },
        })
      }
    },
  },
  noReload('GFPU-12'),
  {
    name: 'xfd-not-synced',
    mistake: "a guest's IA32_XFD that does not exit any more is not read back after an exit",
    source: 'GFPU-29',
    apply: (host) => replace(host, (processor) => ({ rdmsrXfd: () => host.host.kernel.cpus[processor.id].xfdShadow })),
  },
  {
    name: 'pkru-with-image',
    mistake: 'PKRU is restored with the rest of an image',
    source: 'GFPU-10, GFPU-17, PERM-41: PKRU is no part of a restore',
    apply: (host) =>
      replace(host, (processor) => {
        const xrstor = processor.xrstor.bind(processor)
        return { xrstor: (form, image, rfbm) => xrstor(form, image, rfbm | XFEATURE_MASK_PKRU) }
      }),
  },
  {
    name: 'pkru-left-to-host',
    mistake: "a guest's PKRU stays in the processor after an exit",
    source: "GFPU §2: PKRU, the host's back right after the exit",
    apply: (host) =>
      replace(host, (processor) => {
        const setPkru = processor.setPkru.bind(processor)
        return { setPkru: (value) => (isAfterExit(host, processor, value) ? undefined : setPkru(value)) }
      }),
  },
  {
    name: 'preempted-guest-not-saved',
    mistake: 'a vCPU thread that is preempted is taken to have nothing in the registers',
    source: 'GFPU-12: while KVM_RUN is in progress the image to save to is the vCPU’s',
    apply: (host) => {
      const { scheduler } = host.host.kernel
      const leave = scheduler.leave.bind(scheduler)
      const leaving = { vcpu: false }
      host.also(leaving)
      scheduler.leave = (cpu, task) => {
        leaving.vcpu = task.fpu.taskFpstate !== null
        leave(cpu, task)
        leaving.vcpu = false
      }
      replace(host, (processor) => {
        const xsave = processor.xsave.bind(processor)
        return {
          xsave: (form, image, rfbm) => {
            if (!leaving.vcpu) xsave(form, image, rfbm)
          },
        }
      })
    },
  },
]

export const kernelFpuVariants: readonly XstateVariant[] = [
  {
    name: 'no-begin',
    mistake: 'the interrupt uses vector registers without asking for them',
    source: 'GFPU-13: kernel_fpu_begin saves what is live',
    apply: (host) => {
      host.interrupt = (cpu) => host.fillRegisters(cpu)
    },
  },
  noReload(REVERTED),
]

export const reallocationVariants: readonly XstateVariant[] = [
  {
    name: 'deferred',
    mistake: 'a request for room is left until KVM_RUN ends: a guest is entered before that',
    source: 'GFPU-35; the document: after KVM_SET_MSRS of IA32_XFD the WARN_ON_ONCE can fire',
    kernel: 'proposal:fpu-realloc-exit',
    apply: () => {},
  },
  {
    name: 'deferred-past-save',
    mistake: 'the WARN is taken out, and room is made after the registers were saved: what was saved goes with the small image',
    source: 'GFPU-35, GFPU-39: content survives only in the registers; the document: skip it until the XSAVE into the image',
    kernel: 'proposal:fpu-realloc-exit',
    apply: (host) => {
      const grown = { now: false }
      host.also(grown)
      const { kernel } = host.host
      kernel.log.warnOnce = () => {}
      kernel.trace.fpu = (event) => {
        grown.now ||= event === 'guest_fpstate_grown'
      }
      replace(host, (processor) => {
        const xsave = processor.xsave.bind(processor)
        return {
          xsave: (form, image, rfbm) => {
            if (!grown.now) xsave(form, image, rfbm)
            grown.now = false
          },
        }
      })
    },
  },
]

export const sharedVcpuVariants: readonly XstateVariant[] = [
  {
    name: 'no-mutex',
    mistake: 'the ioctls of a vCPU do not take its mutex',
    source: 'SLD-61, KAPI-04',
    apply: (host) => {
      for (const { vcpu } of host.vcpus)
        Object.defineProperty(vcpu, 'mutexOwner', { configurable: true, get: () => null, set: () => {} })
    },
  },
]

/** Registers count as loaded before an entry, whatever they hold. The exchange at the begin of KVM_RUN is as it was. */
function skipReload(host: VcpuHost): void {
  // KVM_RUN notes the host's PKRU, and then exchanges registers: the restore that follows is that one.
  const exchange = { isNext: false }
  host.also(exchange)
  for (const { vcpu } of host.vcpus) {
    let { hostPkru } = vcpu
    Object.defineProperty(vcpu, 'hostPkru', {
      configurable: true,
      enumerable: true,
      get: () => hostPkru,
      set: (value: number) => {
        exchange.isNext = true
        hostPkru = value
      },
    })
  }
  replace(host, (processor) => {
    const xrstor = processor.xrstor.bind(processor)
    return {
      xrstor: (form, image, rfbm) => {
        const guestIsLoaded = (host.host.kernel.cpus[processor.id].current?.fpu.taskFpstate ?? null) !== null
        const isReload = guestIsLoaded && !exchange.isNext
        exchange.isNext = false
        return isReload ? 0 : xrstor(form, image, rfbm)
      },
    }
  })
}

/** The host's PKRU is about to come back, where a guest has another. */
function isAfterExit(host: VcpuHost, processor: HostProcessor, value: number): boolean {
  const { current } = host.host.kernel.cpus[processor.id]
  const vcpu = host.vcpus.find(({ vcpu: { runner } }) => runner === current)?.vcpu
  return vcpu !== undefined && current !== null && value === vcpu.hostPkru && processor.pkru === vcpu.pkru
}

/** A guest's #NM is being taken back by KVM on this processor. */
function isWorldSwitch(host: VcpuHost, processor: HostProcessor): boolean {
  const { current } = host.host.kernel.cpus[processor.id]
  return current !== null && current.fpu.taskFpstate !== null && !host.inGuest
}
