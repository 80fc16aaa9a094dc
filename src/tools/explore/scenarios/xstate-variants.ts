import { guestXfd, setGuestXfdErr } from '../../../linux/fpu/door.ts'
import type { HostProcessor } from '../../../linux/hardware.ts'
import { PREEMPTION_POINT, type Preemptible, withPreemptionDisabled } from '../../../linux/preemption.ts'
import type { VcpuHost } from '../vcpu-host.ts'
import type { XstateVariant } from './xstate.ts'

/** Mistakes in the handling of extended state, put back by replacing one function or one look at a field. */

/** Replaces methods of every processor; the rest of it is as it was. */
function replace(host: VcpuHost, methods: (processor: HostProcessor) => Partial<HostProcessor>): void {
  for (const processor of host.host.machine.processors) Object.assign(processor, methods(processor))
}

export const xstateVariants: readonly XstateVariant[] = [
  {
    name: 'stale-owner',
    mistake: 'registers count as valid by their owner alone, wherever it ran since',
    source: 'PERM-40: owner and last processor must both agree',
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

/** A guest's #NM is being taken back by KVM on this processor. */
function isWorldSwitch(host: VcpuHost, processor: HostProcessor): boolean {
  const { current } = host.host.kernel.cpus[processor.id]
  return current !== null && current.fpu.taskFpstate !== null && !host.inGuest
}
