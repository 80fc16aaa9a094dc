import type { MachineMemory } from '../../machine/machine-memory.ts'
import type { Kernel } from '../kernel.ts'
import type { XstateConfig } from './config.ts'
import { FpState } from './fpstate.ts'
import { forgetRegisters } from './register-owner.ts'

/** Permission record of a process: features and the buffer sizes that go with them (struct fpu_state_perm, PERM §4). */
export interface PermissionRecord {
  statePerm: number
  /** Bit 63 of state_perm in a guest record: a vCPU exists (PERM-15, -23). */
  locked: boolean
  kernelSize: number
  userSize: number
}

/** Extended state of a task (Linux's struct fpu). */
export class FpuThread {
  readonly config: XstateConfig
  readonly mem: MachineMemory
  /** Default-size buffer that every task has for life. */
  readonly embedded: FpState
  /** The active buffer: the embedded one, a grown one, or a vCPU's while KVM_RUN is in progress (GFPU-12). */
  fpstate: FpState
  /** The task's own buffer while a vCPU's is active. */
  taskFpstate: FpState | null = null
  /** Host and guest records; only those of the thread-group leader count. */
  perm!: PermissionRecord
  guestPerm!: PermissionRecord
  /** Processor that last held the registers; -1 = none. */
  readonly lastCpu: number = -1
  /** TIF_NEED_FPU_LOAD: the registers must be loaded before user mode (PERM-40). */
  readonly needLoad: boolean = true
  /** PKRU while the task does not run. */
  pkru: number

  /** RangeError when memory is exhausted. */
  constructor(kernel: Kernel, pkru: number) {
    this.config = kernel.xstate
    this.mem = kernel.machine.mem
    const embedded = FpState.allocate(kernel, this.config.kernelDefaultSize)
    if (embedded === null) throw new RangeError('no memory for extended state')
    this.embedded = embedded
    this.fpstate = embedded
    this.pkru = pkru
    this.reset()
  }

  /** Embedded default buffer, default permissions (fpstate_reset; PERM-14, -26). The image is not touched. */
  reset(): void {
    const { config } = this
    this.fpstate = this.embedded
    this.fpstate.resetToDefault(config, config.initXfd)
    this.perm = {
      statePerm: config.kernelDefault,
      locked: false,
      kernelSize: config.kernelDefaultSize,
      userSize: config.userDefaultSize,
    }
    this.guestPerm = {
      statePerm: config.guestDefault,
      locked: false,
      kernelSize: config.guestDefaultSize,
      userSize: config.userDefaultSize,
    }
  }

  /** The task dies with a vCPU's image active (an oops): the image stays marked in use for ever, the task's own comes back. */
  abandonGuest(): void {
    if (this.taskFpstate === null) return
    this.fpstate = this.taskFpstate
    this.taskFpstate = null
    forgetRegisters(this)
  }

  /** Bytes of the task's own buffers; a vCPU's image that is active meanwhile is none of them. */
  get bufferBytes(): { embedded: number; grown: number } {
    const own = this.taskFpstate ?? this.fpstate
    return { embedded: this.embedded.allocatedBytes, grown: own === this.embedded ? 0 : own.allocatedBytes }
  }

  /** The task is gone. */
  dispose(): void {
    if (this.fpstate !== this.embedded && !this.fpstate.isGuest) this.fpstate.free()
    this.embedded.free()
  }
}
