"""The least that a command with a database needs. The file ``db.sqlite3`` is made where the command is called."""

INSTALLED_APPS = ["reports"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "db.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},  # SQLite's way to let nobody write between a check and a write
    }
}
